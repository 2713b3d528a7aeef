"""The table of a listing, a row a picture, as it grows."""

import pyarrow as pa

from hw2.data.labels import Labels
from hw2.data.listing.store import Entry
from hw2.errors import DataError

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("name", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("label", pa.int32()),
        ("reason", pa.string()),
    ]
)
Row = tuple[str, str, int, int, int, int, str | None]
CHUNK = 50_000  # rows that are Python objects at once
SHOWN = 3  # classes or files that an error lists


class Rows:
    """Collects rows of SCHEMA."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: Row) -> None:
        """Add one row, in the order of SCHEMA; label -1 where the class is unknown."""
        self._rows.append(row)
        if len(self._rows) >= CHUNK:
            self._pack()

    def add_entry(self, entry: Entry, reason: str | None, label: int = -1) -> None:
        """Add a file as one row: a picture, or one with the reason why none can be had of it."""
        self.add((entry.name, entry.name, -1, entry.size, entry.mtime_ns, label, reason))

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add rows that are columns already."""
        self._pack()
        self._batches.append(batch)

    def table(self) -> pa.Table:
        """All rows, in the order in which they came."""
        self._pack()
        return pa.Table.from_batches(self._batches, SCHEMA)

    def _pack(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)
            ]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
            self._rows = []


class Classes:
    """Finds classes by text, and remembers what has none until `refuse_unknown`."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._unknown: dict[str, str] = {}

    def find(self, text: str, name: str) -> int:
        """The class of a text; -1 if none, which the picture `name` then is an example of."""
        place = self.labels.index(text)
        if place is not None:
            return place
        # The least name: folders are read in any order, and the error shall always be the same.
        self._unknown[text] = min(name, self._unknown.get(text, name))
        return -1

    def refuse_unknown(self, where: str) -> None:
        """Raise DataError if a class had no label."""
        if not self._unknown:
            return
        count = len(self._unknown)
        shown = [f"{text[:80]!r} ({self._unknown[text]})" for text in sorted(self._unknown)[:SHOWN]]
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        what = "class has no label" if count == 1 else "classes have no label"
        raise DataError(
            f"{where}: {count} {what}: {', '.join(shown)}{more}: "
            "add what is missing to --labels, or take those pictures away"
        )
