"""Parts of a listing, and the bytes of their pictures."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hw2.data.listing.store import STORE_ERRORS, Store, gist, open_store, over_limit
from hw2.data.listing.tables import picture_column, picture_leaf
from hw2.data.listing.tars import LOCAL_READ, REMOTE_READ, Window
from hw2.errors import DataError

Read = tuple[int, bytes | None, str | None]  # row of the part, then bytes or a reason
Places = list[tuple[int, int, int]]  # rows of the part, their offsets and sizes
PARQUET_ROWS = 32  # pictures in memory at once
CHANGED = "it changed since it was listed"


class Passing(str):
    """A reason that lies in the reading, not in the bytes: the next reading may go well."""


class _Unread(DataError):
    """What `Passing` says."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a listing, with what another process needs to read them.

    Attributes:
        index: place among the parts.
        kind: layout of the listing.
        root: folder or URI that the sources lie in; a URI may hold keys.
        table: the rows, columns as in Listing.
        fingerprint: sha256 over names, sizes, offsets, times of change and the reasons of what is
            bad already; where the set lies and what its classes are called do not matter.
        image_column: of Parquet files; None for the usual one.
    """

    index: int
    kind: str
    root: str
    table: pa.Table
    fingerprint: str
    image_column: str | None = None


def fingerprint(table: pa.Table, image_column: str | None) -> str:
    """sha256 that changes with what the pictures of `table` are read from, or are bad for."""
    texts = [image_column, *table["name"].to_pylist(), *table["reason"].to_pylist()]
    digest = hashlib.sha256(json.dumps(texts).encode())
    for name in ("size", "offset", "mtime_ns"):
        digest.update(table[name].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def read_part(part: Part) -> Iterator[Read]:
    """The bytes of each picture of a part, in order, or the reason why there are none.

    Each source is opened once, Parquet files are read by the row groups needed. A file that is
    gone, changed since it was listed or cannot be read is a reason, never an exception; it is
    `Passing` where the bytes were not seen.
    """
    store = open_store(part.root)
    columns = part.table.select(["source", "offset", "size", "mtime_ns", "reason"]).to_pydict()
    rows = list(zip(*columns.values(), strict=True))
    for source, group in itertools.groupby(range(len(rows)), lambda row: rows[row][0]):
        here = list(group)
        good: Places = [(row, *rows[row][1:3]) for row in here if rows[row][4] is None]
        read = iter(_guarded(store, part, source, good, rows[here[0]][3]))
        for row in here:
            yield (row, None, rows[row][4]) if rows[row][4] is not None else next(read)


def _guarded(store: Store, part: Part, source: str, rows: Places, mtime_ns: int) -> Iterator[Read]:
    """The pictures of one source; what fails becomes the reason of the rows that are left."""
    done = 0
    reason: str = Passing(CHANGED)  # of a table with fewer rows than were listed
    try:
        for picture in _pictures(store, part, source, rows, mtime_ns):
            done += 1
            yield picture
    except FileNotFoundError:
        reason = Passing("the file is missing")
    except _Unread as error:
        reason = Passing(error)
    except DataError as error:
        reason = str(error)
    except STORE_ERRORS as error:
        reason = f"it cannot be read ({gist(error)})"
        # Of torn pages pyarrow tells an OSError too, without a number; buckets' have none either.
        if isinstance(error, OSError) and (error.errno is not None or not store.local):
            reason = Passing(reason)
    yield from ((row, None, reason) for row, _, _ in rows[done:])


def _pictures(store: Store, part: Part, source: str, rows: Places, mtime_ns: int) -> Iterator[Read]:
    if not rows:
        return
    if part.kind not in ("tars", "parquet"):
        yield from _read_file(store, source, rows)
        return
    found = store.info(source)
    if found.reason is not None or found.mtime_ns != mtime_ns:
        raise _Unread(found.reason or CHANGED)  # other bytes lie at the offsets now
    if part.kind == "tars":
        yield from _read_tar(store, source, rows)
    else:
        yield from _read_parquet(store, source, rows, part.image_column)


def _read_file(store: Store, source: str, rows: Places) -> Iterator[Read]:
    for row, _, size in rows:
        content = store.read(source, size + 1)
        yield (row, content, None) if len(content) == size else (row, None, Passing(CHANGED))


def _read_tar(store: Store, source: str, rows: Places) -> Iterator[Read]:
    with store.open(source) as file:
        window = Window(file, LOCAL_READ if store.local else REMOTE_READ)
        for row, offset, size in rows:
            content = window.at(offset, size)
            yield (row, content, None) if len(content) == size else (row, None, Passing(CHANGED))


def _read_parquet(
    store: Store, source: str, rows: Places, image_column: str | None
) -> Iterator[Read]:
    with store.open(source) as opened, pq.ParquetFile(opened) as file:
        schema = file.schema_arrow
        leaf = picture_leaf(schema.field(picture_column(source, schema, image_column)))
        for run in _ascending(rows):
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                here = [place for place in run if first <= place[1] < end]
                if here:
                    yield from _read_group(file, group, leaf, first, here)
                first = end


def _ascending(rows: Places) -> Iterator[Places]:
    """The rows in pieces whose offsets ascend; one piece, unless someone shuffled them."""
    begin = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end][1] <= rows[end - 1][1]:
            yield rows[begin:end]
            begin = end


def _read_group(
    file: pq.ParquetFile, group: int, leaf: str | None, first: int, rows: Places
) -> Iterator[Read]:
    """Rows of the row group that begins at row `first`, in their order."""
    waiting = iter([*rows, (-1, -1, -1)])
    row, offset, _ = next(waiting)
    for batch in file.iter_batches(PARQUET_ROWS, row_groups=[group], columns=[leaf]):
        cells = batch.column(0)
        if pa.types.is_struct(cells.type):
            cells = pc.struct_field(cells, "bytes")
        while first <= offset < first + len(cells):
            cell = cells[offset - first]
            reason = over_limit(cell.as_buffer().size) if cell.is_valid else "its cell is empty"
            yield (row, cell.as_py(), None) if reason is None else (row, None, reason)
            row, offset, _ = next(waiting)
        first += len(cells)
        if row < 0:
            return
