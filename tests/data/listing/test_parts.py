import os
import random
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hw2.data.listing import parts, store
from hw2.data.listing.parts import Passing, read_part
from hw2.data.listing.pictures import list_pictures
from hw2.errors import ConfigError, DataError
from tests.data.listing.picture_sets import LABELS, LAYOUTS, encoded, read_all, reasons

CHANGED = "it changed since it was listed"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_come_in_the_order_asked_for(tmp_path: Path, layout: str) -> None:
    column = "png" if "files" in layout else None
    listing = list_pictures(LAYOUTS[layout][0](tmp_path / "set"), LABELS, image_column=column)
    whole = [data for _, data, _ in read_all(listing)]
    rows = [*range(len(listing)), 3, 3, 0]
    random.Random(0).shuffle(rows)
    found = list(read_part(listing.take(rows)))
    assert found == [(place, whole[row], None) for place, row in enumerate(rows)]


def test_files_that_change_after_the_listing(tmp_path: Path) -> None:
    images = LAYOUTS["names"][0](tmp_path / "set")
    listing, folder = list_pictures(images, LABELS), tmp_path / "set"
    os.unlink(folder / "0_0.png")
    (folder / "0_1.png").write_bytes(b"shorter")
    with (folder / "0_2.png").open("ab") as file:
        file.write(b"longer")
    os.unlink(folder / "0_3.png")
    os.mkfifo(folder / "0_3.png")
    os.unlink(folder / "1_0.png")
    (folder / "1_0.png").mkdir()
    found = [reason for _, _, reason in read_all(listing)]
    assert sum(isinstance(reason, Passing) for reason in found) == 3
    names = listing.table["name"].to_pylist()
    bad = {name: reason for name, reason in zip(names, found, strict=True) if reason is not None}
    assert bad == {
        "0_0.png": "the file is missing",
        "0_1.png": CHANGED,
        "0_2.png": CHANGED,
        "0_3.png": "it is not a regular file",
        "1_0.png": "it is not a regular file",
    }
    shutil.rmtree(folder)
    assert {reason for _, _, reason in read_all(listing)} == {"the file is missing"}


def test_a_bucket_that_fails_may_answer_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its errors have no number, as pyarrow's of torn files have none."""
    listing = list_pictures(LAYOUTS["names"][0](tmp_path / "set"), LABELS)
    monkeypatch.setattr(store.Store, "read", Mock(side_effect=OSError("AWS Error NETWORK")))
    for local in (True, False):
        monkeypatch.setattr(store.open_store(listing.root), "local", local)
        for _, _, reason in read_all(listing):
            assert reason == "it cannot be read (AWS Error NETWORK)"
            assert isinstance(reason, Passing) is not local


@pytest.mark.parametrize("layout", ["tars", "Parquet files"])
def test_shards_that_change_after_the_listing(tmp_path: Path, layout: str) -> None:
    column = "png" if "files" in layout else None
    listing = list_pictures(LAYOUTS[layout][0](tmp_path / "set"), LABELS, image_column=column)
    first, second = sorted({*listing.table["source"].to_pylist()})
    os.unlink(tmp_path / "set" / first)
    os.utime(tmp_path / "set" / second, ns=(0, 1))
    found = [reason for _, _, reason in read_all(listing)]
    assert found == ["the file is missing"] * 6 + [CHANGED] * 6
    assert all(isinstance(reason, Passing) for reason in found)


def test_cells_without_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_FILE_BYTES", 4999)
    cells = [
        {"bytes": b"good", "path": None},
        {"bytes": None, "path": "outside.png"},
        None,
        {"bytes": b"x" * 5000, "path": None},
        {"bytes": b"no label", "path": None},
        {"bytes": b"", "path": None},
    ]
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"image": cells, "label": ["0", "cat", "1", "1", None, "dog"]}), path)
    listing = list_pictures(str(path), LABELS)
    assert reasons(listing) == {"set.parquet/4": "it has no label"}
    assert read_all(listing) == [
        (0, b"good", None),
        (0, None, "its cell is empty"),
        (1, None, "its cell is empty"),
        (1, None, "5000 bytes are over the allowed 4999"),
        (-1, None, "it has no label"),
        (1, b"", None),
    ]


def test_a_torn_page_is_a_reason(tmp_path: Path) -> None:
    """The footer is whole, so the listing is; the pictures' pages of the second group are not."""
    path = tmp_path / "set.parquet"
    pictures = [encoded(n) for n in range(9)]
    table = pa.table({"image": pictures, "label": [0] * 9})
    pq.write_table(table, path, row_group_size=3, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    whole = bytearray(path.read_bytes())
    begin = column.data_page_offset
    whole[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(whole)
    found = read_all(list_pictures(str(path), LABELS), 3)
    assert [data for _, data, _ in found] == [*pictures[:3], None, None, None, *pictures[6:]]
    assert all(reason.startswith("it cannot be read (") for _, _, reason in found[3:6])
    assert not any(isinstance(reason, Passing) for _, _, reason in found)


def test_only_the_row_groups_needed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.parquet"
    pictures = [b"%04d" % n for n in range(1000)]
    labels = pa.array(np.zeros(1000, np.int64))
    pq.write_table(pa.table({"image": pictures, "label": labels}), path, row_group_size=100)
    listing = list_pictures(str(path), LABELS)
    groups = []
    read = parts._read_group
    monkeypatch.setattr(
        parts,
        "_read_group",
        lambda file, group, *rest: (groups.append(group), read(file, group, *rest))[1],
    )
    found = list(read_part(listing.take([150, 199, 431, 432, 980])))
    assert [data for _, data, _ in found] == [b"0150", b"0199", b"0431", b"0432", b"0980"]
    assert groups == [1, 4, 9]


def test_columns_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    columns = {"a": [b"1"], "b": [b"2"], "n": [3], "label": [0.5], "class": [0]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(
        ConfigError, match=r"several columns hold bytes .a, b.: choose one with --im"
    ):
        list_pictures(str(path), LABELS)
    listing = list_pictures(str(path), LABELS, image_column="b")
    assert read_all(listing) == [(0, b"2", None)]
    other = list_pictures(str(path), LABELS, image_column="a")
    assert read_all(other) == [(0, b"1", None)]
    assert other.parts(1)[0].fingerprint != listing.parts(1)[0].fingerprint
    for settings in ({"image_column": "n"}, {"image_column": "b", "label_column": "label"}):
        with pytest.raises(
            ConfigError, match=r"cannot use --.*_column .*: it holds a, b, n, label"
        ):
            list_pictures(str(path), LABELS, **settings)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"1 class has no label: '3' .set.parquet/0."):
        list_pictures(str(path), LABELS, image_column="a", label_column="n")
