"""Listing pictures that are cells of Parquet files, without reading them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hw2.data.listing.manifest import NO_LABEL
from hw2.data.listing.rows import SCHEMA, Classes, Rows
from hw2.data.listing.store import STORE_ERRORS, Entry, Store, gist, shown
from hw2.data.listing.tables import label_column, open_parquet, picture_column
from hw2.errors import ConfigError, DataError


def list_parquet(
    store: Store,
    shards: list[Entry],
    classes: Classes,
    rows: Rows,
    image: str | None,
    label: str | None,
) -> None:
    """The rows of all files, of which the labels alone are read."""
    for shard in shards:
        if shard.reason is not None:
            rows.add_entry(shard, shard.reason)
            continue
        where = shown(store.path(shard.name))
        try:
            with open_parquet(store, shard.name) as file:
                picture_column(where, file.schema_arrow, image)
                column, first = label_column(where, file.schema_arrow, label), 0
                for batch in file.iter_batches(columns=[column]):
                    labels = batch.column(0)
                    rows.add_batch(_rows(shard, first, labels, classes))
                    first += len(labels)
        except STORE_ERRORS as error:
            if isinstance(error, ConfigError | DataError):  # they are kinds of ValueError
                raise
            raise DataError(f"{where}: the table cannot be read ({gist(error)})") from None


def _rows(shard: Entry, first: int, labels: pa.Array, classes: Classes) -> pa.RecordBatch:
    """Rows `first`.. of a file, whose labels these are."""
    count = len(labels)
    offsets = pa.array(np.arange(first, first + count, dtype=np.int64))
    names = pc.binary_join_element_wise(shard.name, pc.cast(offsets, pa.string()), "/")
    coded = labels.dictionary_encode()
    places = []
    for code, value in enumerate(coded.dictionary.to_pylist()):
        row = pc.index(coded.indices, code).as_py()
        text = "" if value is None else str(value).strip()
        # A dictionary may hold what no row has.
        places.append(classes.find(text, names[row].as_py()) if text and row >= 0 else None)
    found = pa.array(places, pa.int32()).take(coded.indices)
    reasons = pc.if_else(found.is_null(), NO_LABEL, pa.scalar(None, pa.string()))
    constant = {"source": shard.name, "size": -1, "mtime_ns": shard.mtime_ns}
    columns = {"name": names, "offset": offsets, "label": found.fill_null(-1), "reason": reasons}
    columns |= {key: pa.repeat(pa.scalar(value), count) for key, value in constant.items()}
    return pa.RecordBatch.from_arrays(
        [columns[field.name].cast(field.type) for field in SCHEMA], schema=SCHEMA
    )
