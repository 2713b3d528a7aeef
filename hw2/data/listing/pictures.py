"""What pictures a set holds, before any of them is opened."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from hw2.data.labels import Labels
from hw2.data.listing.files import folder_labels, guess_layout, list_folders, list_names, shards
from hw2.data.listing.manifest import list_manifest
from hw2.data.listing.parquet import list_parquet
from hw2.data.listing.parts import Part, fingerprint
from hw2.data.listing.rows import SCHEMA, SHOWN, Classes, Rows
from hw2.data.listing.store import Store, locate, shown
from hw2.data.listing.tables import open_parquet, picture_columns
from hw2.data.listing.tars import list_tars
from hw2.disclosure import warn
from hw2.errors import ConfigError, DataError
from hw2.settings.zero_shot import Layout


@dataclass(frozen=True)
class Listing:
    """The pictures of a set, good and bad, in an order that depends on the set alone.

    Attributes:
        labels: the classes.
        table: a row a picture. source: file below the root; name: what is shown, the file, or
            shard.tar/member, or file.parquet/row; offset: where a tar member's bytes begin, or
            the row in a Parquet file, else -1; size: bytes, -1 in Parquet; mtime_ns: of the
            source; label: the class, -1 where unknown; reason: why the picture is bad already,
            else null.
        kind: names, folders, manifest, tars or parquet.
        root: absolute folder, or URI, which may hold keys.
        image_column: of Parquet files; None for the usual one.
    """

    labels: Labels
    table: pa.Table
    kind: str
    root: str
    image_column: str | None = None

    def __len__(self) -> int:
        return self.table.num_rows

    def parts(self, rows: int) -> list[Part]:
        """Consecutive parts of `rows` >= 1 rows, the last one of what is left."""
        return [
            self.take(range(first, min(first + rows, len(self))), index)
            for index, first in enumerate(range(0, len(self), rows))
        ]

    def take(self, rows: Sequence[int], index: int = 0) -> Part:
        """The part `index` of any rows in any order."""
        # Taken, not sliced: a slice would carry the whole table when it is pickled.
        table = self.table.take(pa.array(rows, pa.int64()))
        mark = fingerprint(table, self.image_column)
        return Part(index, self.kind, self.root, table, mark, self.image_column)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of what a set is, as far as a listing can tell.

        `images`: over names, sizes and classes' numbers; `labels`: over the classes.
        """
        classes = json.dumps([self.labels.ids, self.labels.names])
        digest = hashlib.sha256(json.dumps(self.image_column).encode())
        digest.update(json.dumps(self.table["name"].to_pylist()).encode())
        for column in ("size", "label"):
            digest.update(self.table[column].to_numpy().astype("<i8").tobytes())
        labels = hashlib.sha256(classes.encode()).hexdigest()
        return {"images": digest.hexdigest(), "labels": labels}


def list_pictures(
    images: str,
    labels: Labels | None,
    layout: Layout = "auto",
    image_column: str | None = None,
    label_column: str | None = None,
) -> Listing:
    """List a set of pictures; hidden files are passed over.

    Args:
        images: local path, or URI as s3:// or gs://.
        labels: the classes; None makes those of the folders.
        layout: names: a folder of {class}_{n}.png; folders: one a class; manifest: a .csv or
            .parquet of paths and classes; tars: a webdataset .tar or a folder of them; parquet:
            a .parquet with encoded pictures or a folder of them; auto: by suffix and content.
        image_column: of a table, with paths or pictures; None for the usual names.
        label_column: of a table, with ids or names of classes; None for the usual names.

    Raises:
        ConfigError: a layout or column that does not fit, or labels are needed.
        DataError: the set is missing, cannot be read, has no usable picture, or has classes
            without a label.
    """
    store, name = locate(images)
    kind = _kind(store, name, layout, image_column)
    if kind in ("names", "folders") and name:
        raise ConfigError(f"{shown(images)}: it is a file, and layout={kind} wants a folder")
    if kind == "manifest" and not name:
        raise ConfigError(f"{shown(images)}: it is a folder, and layout=manifest wants a file")
    for key, column in (("image_column", image_column), ("label_column", label_column)):
        if column is not None and kind not in ("manifest", "parquet"):
            raise ConfigError(f"{key}={column}: layout={kind} has no table: leave it out")
    guessed = labels is None
    if labels is None:
        if kind != "folders":
            folders = kind == "names" and any(entry.folder for entry in store.scan())
            other = ", or --layout folders for the folders beside them" * folders
            raise ConfigError(
                f"layout={kind} does not say what the classes are: give --labels{other}"
            )
        labels = folder_labels(store)
    classes, rows = Classes(labels), Rows()
    if kind == "names":
        list_names(store, classes, rows)
    elif kind == "folders":
        list_folders(store, classes, rows)
    elif kind == "manifest":
        list_manifest(store, name, classes, rows, image_column, label_column)
    elif kind == "tars":
        list_tars(store, shards(store, name, ".tar"), classes, rows)
    else:
        found = shards(store, name, ".parquet")
        list_parquet(store, found, classes, rows, image_column, label_column)
    classes.refuse_unknown(shown(images))
    table = rows.table()
    _refuse_useless(shown(images), table)
    if guessed:
        labels, table = _with_pictures(shown(images), labels, table)
    if kind in ("names", "folders", "manifest"):  # shards keep the order of their content
        table = table.sort_by("name")
    column = image_column if kind == "parquet" else None
    return Listing(labels, table.combine_chunks(), kind, store.root, column)


def _kind(store: Store, name: str, layout: Layout, image_column: str | None) -> str:
    if layout != "auto":
        return layout
    if not name:
        return guess_layout(store)
    suffix = name.lower().rpartition(".")[2]
    if suffix == "parquet":
        with open_parquet(store, name) as file:
            held = picture_columns(file.schema_arrow)
        return "parquet" if (image_column in held if image_column else held) else "manifest"
    if suffix not in ("csv", "tar"):
        raise ConfigError(
            f"{shown(store.path(name))}: give a folder, or a .csv, .parquet or .tar file"
        )
    return "manifest" if suffix == "csv" else "tars"


def _with_pictures(where: str, labels: Labels, table: pa.Table) -> tuple[Labels, pa.Table]:
    """The classes that have pictures, of those that folders are taken for, and the table of them.

    Raises ConfigError for fewer than two, which cannot be told apart.
    """
    held = table["label"].to_numpy()
    kept = sorted(set(held.tolist()) - {-1})
    names = tuple(labels.names[place] for place in kept)
    if len(kept) < 2:
        raise ConfigError(
            f"{where}: of its folders {', '.join(names)} alone has pictures, and each folder is a "
            "class: give the folder that holds the classes', or --labels"
        )
    if empty := sorted(set(labels.names) - set(names)):
        warn(f"{where}: no class, for want of pictures: {', '.join(empty[:SHOWN])}")
    moved = np.full(len(labels.names) + 1, -1, np.int32)  # the last for -1
    moved[kept] = range(len(kept))
    place = table.schema.get_field_index("label")
    return Labels(names, names), table.set_column(place, SCHEMA.field("label"), [moved[held]])


def _refuse_useless(where: str, table: pa.Table) -> None:
    """Raise DataError unless at least one row may be a picture."""
    if table["reason"].null_count:
        return
    if not table.num_rows:
        raise DataError(f"{where}: holds no pictures")
    first = table.select(["name", "reason"]).sort_by("name").slice(0, SHOWN).to_pylist()
    listed = "; ".join(f"{row['name'][:200]!r}: {row['reason']}" for row in first)
    more = f"; and {table.num_rows - SHOWN} more" if table.num_rows > SHOWN else ""
    raise DataError(f"{where}: holds no usable picture: {listed}{more}")
