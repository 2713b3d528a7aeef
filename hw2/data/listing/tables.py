"""Columns of tables that name pictures or hold them."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hw2.data.listing.store import STORE_ERRORS, Store, gist, shown
from hw2.errors import ConfigError, DataError

PATH_COLUMNS = ("path", "file_name", "image_path", "image", "filepath")
PICTURE_COLUMNS = ("image", "img")  # preferred where several columns hold bytes
LABEL_COLUMNS = ("label", "class", "cls", "class_id", "fine_label")


def open_parquet(store: Store, name: str) -> pq.ParquetFile:
    """A Parquet file, of which the footer alone is read."""
    try:
        return pq.ParquetFile(store.open(name))
    except STORE_ERRORS as error:
        where = shown(store.path(name))
        raise DataError(f"{where}: not a Parquet file, or a torn one ({gist(error)})") from None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def picture_leaf(field: pa.Field) -> str | None:
    """The column of bytes in `field`: itself, or the child `bytes`; None if it has none."""
    if pa.types.is_struct(field.type):
        place = field.type.get_field_index("bytes")
        return f"{field.name}.bytes" if place >= 0 and _is_binary(field.type[place].type) else None
    return field.name if _is_binary(field.type) else None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def picture_columns(schema: pa.Schema) -> list[str]:
    """The columns that may hold encoded pictures."""
    return [field.name for field in schema if picture_leaf(field) is not None]


def picture_column(where: str, schema: pa.Schema, wanted: str | None) -> str:
    """The column with the encoded pictures: the wanted one, or the usual one.

    Raises ConfigError if the wanted one is missing, holds none, or there is a choice.
    """
    found = picture_columns(schema)
    usual = [name for name in PICTURE_COLUMNS if name in found]
    if wanted is None and len(set(found)) > 1 and not usual:
        raise ConfigError(
            f"{where}: several columns hold bytes ({', '.join(found)}): "
            "choose one with --image_column"
        )
    return _chosen(where, schema, found, wanted, usual or found or PICTURE_COLUMNS, "image")


def path_column(where: str, schema: pa.Schema, wanted: str | None) -> str:
    """The column with the pictures' paths. Raises ConfigError if there is none."""
    texts = [field.name for field in schema if is_text(field.type)]
    return _chosen(where, schema, texts, wanted, PATH_COLUMNS, "image")


def label_column(where: str, schema: pa.Schema, wanted: str | None) -> str:
    """The column with the classes, by id or name. Raises ConfigError if there is none."""
    fit = [of.name for of in schema if is_text(of.type) or pa.types.is_integer(of.type)]
    return _chosen(where, schema, fit, wanted, LABEL_COLUMNS, "label")


def _chosen(
    where: str,
    schema: pa.Schema,
    fit: Sequence[str],
    wanted: str | None,
    usual: Sequence[str],
    what: str,
) -> str:
    """The wanted column, or the first usual one, that is among those that fit."""
    names, tried = schema.names, [wanted] if wanted is not None else usual
    for name in tried:
        if name in fit and names.count(name) > 1:
            raise ConfigError(
                f"{where}: {names.count(name)} columns are called {name}: rename all but one, or "
                f"choose another with --{what}_column"
            )
        if name in fit:
            return name
    if len(names) == 1 and (sign := next((s for s in ";\t" if s in names[0]), None)):
        raise ConfigError(f"{where}: its columns are parted by {sign!r}: want a table with commas")
    asked = f"--{what}_column {wanted}" if wanted is not None else f"a column {'/'.join(usual)}"
    fitting = f"choose one of {', '.join(fit[:20])}" if fit else "it has none that fits"
    other = [name for name in tried if names.count(name) == 1]
    if what == "label" and other:  # whole numbers with a gap, as pandas keeps them, are no integers
        kind = f"{other[0]} is {str(schema.field(other[0]).type)[:80]}: want whole numbers or texts"
        fitting = f"{kind}, or {fitting}" if fit else kind
    raise ConfigError(
        f"{where}: cannot use {asked}: it holds {', '.join(names[:20])}: {fitting} "
        f"(--{what}_column)"
    )
