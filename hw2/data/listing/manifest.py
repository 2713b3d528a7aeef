"""Listing pictures that a table of paths and classes names."""

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

import pyarrow as pa
from pyarrow import csv

from hw2.data.listing.rows import Classes, Rows
from hw2.data.listing.store import STORE_ERRORS, Entry, Store, gist, shown, unusable
from hw2.data.listing.tables import label_column, open_parquet, path_column
from hw2.disclosure import warn
from hw2.errors import ConfigError, DataError

NO_LABEL = "it has no label"


def list_manifest(
    store: Store,
    name: str,
    classes: Classes,
    rows: Rows,
    image_column: str | None,
    label_column: str | None,
) -> None:
    """The pictures of the table `name`, whose paths start at its folder and stay in it."""
    # One listing of a bucket is many times faster than a question a picture.
    remote = None if store.local else {entry.name: entry for entry in store.scan(deep=True)}
    seen, again = set[str](), 0
    for path, text in _pairs(store, name, image_column, label_column):
        label, reason = -1, _leaves(path)
        if reason is None:
            plain = str(PurePosixPath(path))
            if remote is None:
                entry = store.look(plain)
            else:
                entry = remote.get(plain, Entry(plain, -1, 0, reason="the file is missing"))
            reason = unusable(entry)
        else:
            entry = Entry(path, -1, 0)
        if reason is None and not text:
            reason = NO_LABEL
        if reason is None:
            label = classes.find(text, entry.name)
            again += entry.name in seen
            seen.add(entry.name)
        rows.add_entry(entry, reason, label)
    if again:
        warn(f"{shown(store.path(name))}: {again} rows repeat a picture, which counts again")


def _leaves(path: str) -> str | None:
    """Why a path cannot be one below the manifest's folder; None if it can."""
    if not path:
        return "it has no path"
    for pure in (PurePosixPath(path), PureWindowsPath(path)):
        if pure.anchor or ".." in pure.parts:
            return "it leaves the folder of the manifest, below which paths are"
    return None


def _pairs(
    store: Store, name: str, image_column: str | None, label_column: str | None
) -> Iterator[tuple[str, str]]:
    """Path and class of each row, "" where one is missing."""
    where = shown(store.path(name))
    try:
        for batch in _batches(store, name, where, image_column, label_column):
            paths, labels = (batch.column(place).to_pylist() for place in (0, 1))
            for path, label in zip(paths, labels, strict=True):
                yield (path or "").strip(), "" if label is None else str(label).strip()
    except STORE_ERRORS as error:
        if isinstance(error, ConfigError | DataError):  # they are kinds of ValueError
            raise
        raise DataError(f"{where}: the table cannot be read ({gist(error)})") from None


def _batches(
    store: Store, name: str, where: str, image: str | None, label: str | None
) -> Iterator[pa.RecordBatch]:
    """The table's two columns, path and class, in pieces."""
    if name.lower().endswith(".parquet"):
        with open_parquet(store, name) as file:
            schema = file.schema_arrow
            columns = [path_column(where, schema, image), label_column(where, schema, label)]
            for batch in file.iter_batches(columns=columns):
                yield batch.select(columns)
        return
    if not name.lower().endswith(".csv"):
        raise ConfigError(f"{where}: want a .csv or .parquet with columns path and label")
    parse = csv.ParseOptions(newlines_in_values=True)
    with store.open(name) as file, csv.open_csv(file, parse_options=parse) as reader:
        texts = pa.schema([(column, pa.string()) for column in reader.schema.names])
    columns = [path_column(where, texts, image), label_column(where, texts, label)]
    # As texts: a guessed type would make 1 of the id 01, and nothing of a class called NA.
    kinds = dict.fromkeys(columns, pa.string())
    convert = csv.ConvertOptions(column_types=kinds, include_columns=columns)
    with (
        store.open(name) as file,
        csv.open_csv(file, parse_options=parse, convert_options=convert) as reader,
    ):
        yield from reader
