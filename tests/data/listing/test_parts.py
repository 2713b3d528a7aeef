import errno
import os
import random
import shutil
import tarfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hw2.data.labels import Labels
from hw2.data.listing import parts, store
from hw2.data.listing.parts import Passing, read_part
from hw2.data.listing.pictures import list_pictures
from hw2.errors import ConfigError, DataError
from tests.data.listing.picture_sets import (
    LABELS,
    LAYOUTS,
    SAMPLES,
    add_member,
    encoded,
    read_all,
    reasons,
    write_names,
)

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
    """Its errors have no number, as pyarrow's of torn files have none; a disk's have one."""
    listing = list_pictures(LAYOUTS["names"][0](tmp_path / "set"), LABELS)
    for error, said in (
        (OSError("AWS Error NETWORK"), "AWS Error NETWORK"),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error"),
    ):
        monkeypatch.setattr(store.Store, "read", Mock(side_effect=error))
        for local in (True, False):
            monkeypatch.setattr(store.open_store(listing.root), "local", local)
            for _, _, reason in read_all(listing):
                assert reason == f"it cannot be read ({said})"
                assert isinstance(reason, Passing) is (not local or error.errno is not None)


@pytest.mark.parametrize("layout", ["tars", "Parquet files"])
def test_shards_that_change_after_the_listing(tmp_path: Path, layout: str) -> None:
    column = "png" if "files" in layout else None
    listing = list_pictures(LAYOUTS[layout][0](tmp_path / "set"), LABELS, image_column=column)
    first, second = sorted({*listing.table["source"].to_pylist()})
    os.unlink(tmp_path / "set" / first)
    then = (tmp_path / "set" / second).stat().st_mtime_ns
    os.utime(tmp_path / "set" / second, ns=(0, then + 1))
    found = [reason for _, _, reason in read_all(listing)]
    assert found == ["the file is missing"] * 6 + [CHANGED] * 6
    assert all(isinstance(reason, Passing) for reason in found)


@pytest.mark.parametrize("layout", ["tar with cls", "Hugging Face"])
def test_a_shard_of_the_same_time_with_fewer_pictures(tmp_path: Path, layout: str) -> None:
    path = Path(LAYOUTS[layout][0](tmp_path / "set"))
    listing, then = list_pictures(str(path), LABELS), path.stat().st_mtime_ns
    whole = read_all(listing)
    if layout == "Hugging Face":
        pq.write_table(pq.read_table(path).slice(0, 7), path, row_group_size=5)
    else:
        path.write_bytes(path.read_bytes()[: listing.table["offset"][7].as_py() + 1])
    os.utime(path, ns=(then, then))
    found = read_all(listing, len(listing))
    assert found[:7] == whole[:7]
    assert [row[1:] for row in found[7:]] == [(None, CHANGED)] * (len(whole) - 7)
    assert all(isinstance(reason, Passing) for _, _, reason in found[7:])


def test_a_parquet_file_that_became_something_else_in_no_time(tmp_path: Path) -> None:
    path = Path(LAYOUTS["Hugging Face"][0](tmp_path / "set"))
    listing, then = list_pictures(str(path), LABELS), path.stat().st_mtime_ns
    path.write_bytes(b"no table" * 100)
    os.utime(path, ns=(then, then))
    for _, _, reason in read_all(listing):
        assert reason is not None and reason.startswith("it cannot be read (")
        assert not isinstance(reason, Passing)


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_shards_that_are_no_files_are_rows_with_a_reason(tmp_path: Path, suffix: str) -> None:
    layout = "tars" if suffix == ".tar" else "Parquet files"
    column = None if suffix == ".tar" else "png"
    images = LAYOUTS[layout][0](tmp_path / "set")
    whole = read_all(list_pictures(images, LABELS, image_column=column))
    (tmp_path / f"set/folder{suffix}").mkdir()  # passed over
    os.mkfifo(tmp_path / f"set/pipe{suffix}")
    (tmp_path / f"set/lost{suffix}").symlink_to("nowhere")
    (tmp_path / f"out{suffix}").write_bytes((tmp_path / f"set/0{suffix}").read_bytes())
    (tmp_path / f"set/00{suffix}").symlink_to(f"../out{suffix}")
    listing = list_pictures(images, LABELS, image_column=column)
    assert reasons(listing) == {
        f"00{suffix}": "it leaves the folder by a link",
        f"lost{suffix}": "the file is missing",
        f"pipe{suffix}": "it is not a regular file",
    }
    sources = listing.table["source"].to_pylist()
    assert sources == sorted(sources) and len(sources) == len(whole) + 3
    assert [row for row in read_all(listing) if row[2] is None] == whole


def test_rows_of_a_long_table_keep_their_places(tmp_path: Path) -> None:
    """pyarrow gives 65,536 rows at once."""
    path, count = tmp_path / "set.parquet", 70_000
    cells = {"image": [b"%d" % n for n in range(count)], "label": np.arange(count) % 2}
    pq.write_table(pa.table(cells), path)
    listing = list_pictures(str(path), LABELS)
    assert listing.table["offset"].to_pylist() == list(range(count))
    assert listing.table["name"][-1].as_py() == f"set.parquet/{count - 1}"
    assert list(read_part(listing.take([69_999, 1]))) == [(0, b"69999", None), (1, b"1", None)]


def test_a_table_with_bytes_is_a_manifest_where_paths_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"of a file")
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"thumb": [b"x"], "place": ["a.png"], "label": ["cat"]}), path)
    for column, kind, content in (("place", "manifest", b"of a file"), ("thumb", "parquet", b"x")):
        listing = list_pictures(str(path), LABELS, image_column=column)
        assert (listing.kind, read_all(listing)) == (kind, [(0, content, None)])
        assert listing.image_column == (column if kind == "parquet" else None)
    assert list_pictures(str(path), LABELS).kind == "parquet"


def test_columns_of_large_types_as_polars_writes_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    label = pa.array(["cat"], pa.large_string())
    for layout, column in (
        ("parquet", {"image": pa.array([b"1"], pa.large_binary())}),
        ("manifest", {"path": pa.array(["a.png"], pa.large_string())}),
    ):
        pq.write_table(pa.table(column | {"label": label}), tmp_path / "set.parquet")
        listing = list_pictures(str(tmp_path / "set.parquet"), LABELS)
        assert (listing.kind, read_all(listing)) == (layout, [(0, b"1", None)])


def test_labels_of_a_table_are_taken_without_blanks(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    words = pa.DictionaryArray.from_arrays([0, 1, 2, 0], ["cat ", " ", "\tdog", "no row's"])
    pq.write_table(pa.table({"image": [b"x"] * 4, "label": words}), path)
    listing = list_pictures(str(path), LABELS)
    assert listing.table["label"].to_pylist() == [0, -1, 1, 0]
    assert reasons(listing) == {"set.parquet/1": "it has no label"}


def test_hashes_tell_what_is_read_and_what_is_bad(tmp_path: Path) -> None:
    images = LAYOUTS["names"][0](tmp_path / "set")
    first = tmp_path / "set/0_0.png"
    (tmp_path / "set/cat_3.png").write_bytes(b"x")

    def mark(labels: Labels = LABELS) -> tuple[str, str]:
        listing = list_pictures(images, labels)
        return listing.parts(100)[0].fingerprint, listing.hashes["images"]

    named = Labels((*LABELS.ids, "cat"), (*LABELS.names, "kitten"))  # cat_3.png is a picture now
    marks, then = [mark(), mark(named)], first.stat().st_mtime_ns
    first.write_bytes(first.read_bytes() + b"longer")
    os.utime(first, ns=(then, then))
    marks.append(mark())
    first.rename(tmp_path / "set/0_00.png")
    marks.append(mark())
    assert all(len(set(hashes)) == 4 for hashes in zip(*marks, strict=True))


def test_fingerprints_tell_where_in_a_tar_the_pictures_lie(tmp_path: Path) -> None:
    path, marks = tmp_path / "set.tar", set()
    for size in (1, 600):
        with tarfile.open(path, "w") as tar:
            add_member(tar, "notes.txt", b"x" * size)
            add_member(tar, "0_1.png", b"x")
        os.utime(path, ns=(0, 1))
        marks.add(list_pictures(str(path), LABELS).parts(9)[0].fingerprint)
    assert len(marks) == 2


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
    assert other.hashes["images"] != listing.hashes["images"]
    for settings in ({"image_column": "n"}, {"image_column": "b", "label_column": "label"}):
        with pytest.raises(
            ConfigError, match=r"cannot use --.*_column .*: it holds a, b, n, label"
        ):
            list_pictures(str(path), LABELS, **settings)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"1 class has no label: '3' .set.parquet/0."):
        list_pictures(str(path), LABELS, image_column="a", label_column="n")
    pq.write_table(pa.table({"image": [{"bytes": "a text"}], "n": [0.5]}), path)
    with pytest.raises(
        ConfigError,
        match=r"cannot use a column image/img: it holds image, n: it has none that fits .--image_",
    ):
        list_pictures(str(path), LABELS, "parquet")


@pytest.mark.parametrize(
    ("cells", "settings", "told"),
    [
        (
            {"image": [b"1", b"2"], "label": [0.0, None]},  # as pandas keeps integers with a gap
            {},
            "cannot use a column label/class/cls/class_id/fine_label: it holds image, label: "
            "label is double: want whole numbers or texts (--label_column)",
        ),
        (
            {"image": [b"1"], "label": [0], "seen": [True]},
            {"label_column": "seen"},
            "cannot use --label_column seen: it holds image, label, seen: "
            "seen is bool: want whole numbers or texts, or choose one of label (--label_column)",
        ),
    ],
)
def test_labels_of_another_type_are_refused_with_it(
    cells: dict, settings: dict[str, str], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(cells), path)
    with pytest.raises(ConfigError) as refused:
        list_pictures(str(path), LABELS, **settings)  # type: ignore[arg-type]
    assert str(refused.value) == f"{path}: {told}"


@pytest.mark.parametrize(
    ("names", "twice"),
    [
        (["image", "image", "label"], "image"),
        (["data", "data", "label"], "image"),
        (["image", "label", "label"], "label"),
        (["image", "label", "class"], None),
    ],
)
def test_two_columns_of_one_name_are_refused(
    names: list[str], twice: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "set.parquet"
    columns = [pa.array([0] if name in ("label", "class") else [b"1"]) for name in names]
    pq.write_table(pa.Table.from_arrays(columns, names=names), path)
    if twice is None:
        assert read_all(list_pictures(str(path), LABELS)) == [(0, b"1", None)]
        return
    name = max(names, key=names.count)
    with pytest.raises(ConfigError) as refused:
        read_all(list_pictures(str(path), LABELS))
    assert str(refused.value) == (
        f"{path}: 2 columns are called {name}: rename all but one, or choose another with "
        f"--{twice}_column"
    )


def test_the_usual_names_of_columns_and_which_is_preferred(tmp_path: Path) -> None:
    write_names(tmp_path / "set")
    table = tmp_path / "set/set.csv"
    paths = ("path", "file_name", "image_path", "image", "filepath")
    labels = ("label", "class", "cls", "class_id", "fine_label")
    for count in range(1, 6):
        for path, label in ((paths[-count:], labels[:1]), (paths[:1], labels[-count:])):
            header = ",".join((*reversed(path), *reversed(label)))
            row = ["nowhere.png"] * (len(path) - 1) + ["0_1.png"]
            row += ["nothing"] * (len(label) - 1) + ["0"]
            table.write_text(f"{header}\n{','.join(row)}\n")
            assert read_all(list_pictures(str(table), LABELS)) == [(0, SAMPLES[1][2], None)]
    cells = {"other": [b"1"], "img": [b"2"], "label": ["0"]}
    for column, content in (("img", b"2"), ("image", b"3")):
        pq.write_table(pa.table(cells | {column: [content]}), tmp_path / "set.parquet")
        found = read_all(list_pictures(str(tmp_path / "set.parquet"), LABELS))
        assert found == [(0, content, None)]
