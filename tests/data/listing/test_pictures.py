import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest

from hw2.data.labels import Labels
from hw2.data.listing.pictures import Listing, list_pictures
from hw2.errors import ConfigError, DataError
from tests.data.listing.picture_sets import LABELS, LAYOUTS, SAMPLES, read_all, reasons, write_names

EXPECTED = sorted((LABELS.ids.index(text), data, None) for text, _, data in SAMPLES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The set by names. Spoil it at will."""
    return Path(write_names(tmp_path / "set"))


def listed(folder: Path, **settings: object) -> Listing:
    return list_pictures(str(folder), LABELS, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_classes_and_bytes(tmp_path: Path, layout: str) -> None:
    write, kind = LAYOUTS[layout]
    images = write(tmp_path / "a set%20")
    for name in (".hidden.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / "a set%20" / name).write_bytes(b"")
    (tmp_path / "a set%20/__MACOSX").mkdir()
    (tmp_path / "a set%20/__MACOSX/._0_1.png").write_bytes(b"")
    listing = list_pictures(images, LABELS, image_column="png" if "files" in layout else None)
    assert (listing.kind, listing.root) == (kind, str(tmp_path / "a set%20"))
    assert sorted(read_all(listing)) == EXPECTED
    names = listing.table["name"].to_pylist()
    if kind in ("names", "folders", "manifest"):
        assert names == sorted(names)
    if kind in ("names", "manifest"):
        assert names == sorted(f"{text}_{n}.png" for text, n, _ in SAMPLES)
    assert len(set(names)) == len(SAMPLES)
    asked = list_pictures(images, LABELS, kind, listing.image_column)  # type: ignore[arg-type]
    assert asked.table.equals(listing.table)


@pytest.mark.parametrize(
    "layout", ["names", "csv", "manifest", "tar with cls", "tars", "Parquet files"]
)
def test_suffixes_may_be_in_upper_case(tmp_path: Path, layout: str) -> None:
    write, kind = LAYOUTS[layout]
    images, folder = write(tmp_path / "set"), tmp_path / "set"
    files = [path for path in folder.iterdir() if kind != "manifest" or path.stem == "set"]
    for path in files:
        path.rename(path.with_suffix(path.suffix.upper()))
    if images != str(folder):
        images = str(Path(images).with_suffix(Path(images).suffix.upper()))
    listing = list_pictures(images, LABELS, image_column="png" if "files" in layout else None)
    assert listing.kind == kind
    assert sorted(read_all(listing)) == EXPECTED


def test_a_listing_without_labels_takes_the_folders(tmp_path: Path) -> None:
    images = LAYOUTS["folders"][0](tmp_path / "set")
    names = ("0", "1", "great white shark")
    assert list_pictures(images, None).labels == Labels(names, names)
    for layout in set(LAYOUTS) - {"folders"}:
        images = LAYOUTS[layout][0](tmp_path / layout)
        with pytest.raises(ConfigError, match="does not say what the classes are: give --labels"):
            list_pictures(images, None)
    (tmp_path / "set/0_1.png").write_bytes(b"astray")
    with pytest.raises(ConfigError, match="give --labels, or --layout folders for the folders"):
        list_pictures(str(tmp_path / "set"), None)


def test_a_folder_without_pictures_is_no_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(LAYOUTS["folders"][0](tmp_path / "set"))
    whole = list_pictures(str(images), None)
    assert capsys.readouterr().err == ""
    for name in ("__MACOSX", "backup", "album.png"):
        (images / name).mkdir()
    (images / "README.md").write_bytes(b"")
    (images / "backup" / "notes.txt").write_bytes(b"")
    listing = list_pictures(str(images), None)
    assert listing.labels == whole.labels
    good = listing.table.filter(pc.is_null(listing.table["reason"]))
    assert good["label"].to_pylist() == whole.table["label"].to_pylist()
    bad = listing.table.filter(pc.is_valid(listing.table["reason"]))
    assert bad["name"].to_pylist() == ["README.md", "album.png", "backup/notes.txt"]
    assert bad["label"].to_pylist() == [-1, -1, -1]
    told = "no class, for want of pictures: album.png, backup\n"
    assert capsys.readouterr().err.endswith(told)


def test_one_class_is_none(tmp_path: Path) -> None:
    LAYOUTS["folders"][0](tmp_path / "set")
    with pytest.raises(ConfigError, match=f"^{tmp_path}: of its folders set alone has pictures"):
        list_pictures(str(tmp_path), None)
    shutil.rmtree(tmp_path / "set/0")
    assert list_pictures(str(tmp_path / "set"), None).labels.names == ("1", "great white shark")


def test_a_relative_path_is_read_from_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    listing = list_pictures("set", LABELS)
    monkeypatch.chdir("/")
    assert sorted(read_all(listing)) == EXPECTED
    assert list_pictures(f"file://{folder}", LABELS).root == listing.root == str(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert list_pictures("~/set", LABELS).root == str(folder)


def test_names_of_classes_with_underscores(tmp_path: Path) -> None:
    for name in ("great_white_1.png", "a_b_22.jpg", "x_1.png", "great_white_shark.png", "_1.png"):
        (tmp_path / name).write_bytes(b"x")
    listing = list_pictures(str(tmp_path), Labels(("a_b", "great_white", "7"), ("x", "y", "z")))
    assert listing.table["label"].to_pylist() == [-1, 0, 1, -1, 0]
    misnamed = "misnamed: want {class}_{n}.png"
    assert reasons(listing) == {"_1.png": misnamed, "great_white_shark.png": misnamed}


def test_classes_without_a_label(folder: Path) -> None:
    (folder / "77_3.png").touch()
    with pytest.raises(DataError, match=r"set: 1 class has no label: '77' \(77_3.png\): add"):
        listed(folder)
    for name in ("78_1.png", "79_1.png", "80_1.png", "77_2.png"):
        (folder / name).touch()
    with pytest.raises(DataError) as refused:
        listed(folder)
    assert (
        "4 classes have no label: '77' (77_2.png), '78' (78_1.png), '79' (79_1.png) and 1 more: "
        "add what is missing to --labels" in str(refused.value)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_refuses_a_class_without_a_label(tmp_path: Path, layout: str) -> None:
    images = LAYOUTS[layout][0](tmp_path / "set")
    with pytest.raises(
        DataError, match=r"no label: '(10|great white shark)' .*add what"
    ) as refused:
        list_pictures(images, Labels(("0", "1"), ("cat", "dog")))
    assert "\n" not in str(refused.value)


def rows_of(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "set.csv").write_text(text)
        return folder / "set.csv"

    return write


def test_a_picture_that_a_table_names_again_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It narrows the intervals."""
    name = f"{SAMPLES[0][0]}_{SAMPLES[0][1]}.png"
    listed(rows_of(f"path,label\n{name},0\n")(folder))
    assert capsys.readouterr().err == ""
    assert len(listed(rows_of("path,label\n" + f"{name},0\n" * 3)(folder))) == 3
    told = f"warning: {folder}/set.csv: 2 rows repeat a picture, which counts again\n"
    assert capsys.readouterr().err == told
    listed(rows_of(f"path,label\n{name},0\n./{name},0\n.//{name},0\n")(folder))
    assert capsys.readouterr().err == told
    listed(rows_of(f"path,label\n{name},0\n" + ",0\nnone.png,0\n" * 2)(folder))
    assert capsys.readouterr().err == ""  # what is no picture counts not at all


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (
        lambda folder: folder / "none",
        "none: no such file or folder of pictures: point --images at one, or run `python -m jobs.",
    ),
    "empty folder": (lambda folder: (folder / "e").mkdir() or folder / "e", "holds no pictures"),
    "empty classes": (
        lambda folder: (folder / "e/0").mkdir(parents=True) or folder / "e",
        "holds no pictures",
    ),
    "nothing usable": (
        lambda folder: (
            (folder / "e/0.txt").mkdir(parents=True) or (folder / "e/a.png").touch() or folder / "e"
        ),
        "holds no usable picture: '0.txt': it is a folder; 'a.png': misnamed",
    ),
    "pipe": (lambda folder: os.mkfifo(folder / "p.tar") or folder / "p.tar", "neither a regular"),
    "a picture": (lambda folder: folder / "0_1.png", "give a folder, or a .csv"),
    "empty table": (rows_of(""), "the table cannot be read"),
    "header only": (rows_of("path,label\n"), "holds no pictures"),
    "no path column": (rows_of("name,label\n0_1.png,0\n"), "cannot use a column path/file_name"),
    "no label column": (rows_of("path,kind\n0_1.png,0\n"), "choose one of path, kind"),
    "semicolons": (rows_of("path;label\n0_1.png;0\n"), "parted by ';': want a table with commas"),
    "tabs": (rows_of("path\tlabel\n0_1.png\t0\n"), r"parted by '\t': want a table with"),
    "unknown class": (
        rows_of("path,label\n0_2.png,x\n0_1.png,x\n0_3.png,x\n"),
        "1 class has no label: 'x' (0_1.png)",
    ),
    "ragged": (rows_of("path,label\n0_1.png,0,1\n"), "the table cannot be read"),
    "not a Parquet": (
        lambda folder: (folder / "x.parquet").write_bytes(b"PAR1") and folder / "x.parquet",
        "not a Parquet file",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sets_that_are_refused_at_the_start(folder: Path, case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises((DataError, ConfigError)) as refused:
        listed(make(folder))
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("names", [("0_1.png", "val.tar"), ("a.tar", "b.parquet", "c.tar")])
def test_files_of_two_layouts_are_not_guessed(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    kinds = {"png": "names", "tar": "tars", "parquet": "parquet"}
    first, second = (kinds[name.rpartition(".")[2]] for name in names[:2])
    with pytest.raises(ConfigError) as refused:
        listed(tmp_path)
    told = (
        f"holds {names[0]!r} and {names[1]!r}: say which are meant by --layout {first} or {second}"
    )
    assert told in str(refused.value)


def test_layouts_that_do_not_fit(folder: Path) -> None:
    (folder / "set.csv").write_text("path,label\n0_1.png,0\n")
    for layout in ("names", "folders", "tars", "parquet"):
        with pytest.raises(ConfigError, match="want"):
            listed(folder / "set.csv", layout=layout)
    with pytest.raises(ConfigError, match="it is a folder"):
        listed(folder, layout="manifest")
    for layout in ("tars", "parquet"):
        with pytest.raises(DataError, match="holds no "):
            listed(folder, layout=layout)
    with pytest.raises(ConfigError, match="cannot use --label_column kind: it holds path, label"):
        listed(folder / "set.csv", label_column="kind")
    for key in ("image_column", "label_column"):
        with pytest.raises(ConfigError, match=f"{key}=x: layout=names has no table: leave it out"):
            listed(folder, layout="names", **{key: "x"})
    with pytest.raises(ConfigError, match=r"foo://key.*: no such place of files") as refused:
        list_pictures("foo://secret@key/x", LABELS)
    assert "secret" not in str(refused.value)


def test_parts_are_light_and_their_fingerprints_tell_changes(folder: Path) -> None:
    for i in range(1200):
        (folder / f"0_{1000 + i}.png").touch()
    listing = listed(folder)
    parts = listing.parts(400)
    assert [len(part.table) for part in parts] == [400, 400, 400, len(SAMPLES)]
    assert [part.index for part in parts] == [0, 1, 2, 3]
    assert len(pickle.dumps(parts[1])) < 40_000 < len(pickle.dumps(listing.table))
    names = [name for part in parts for name in part.table["name"].to_pylist()]
    assert names == listing.table["name"].to_pylist()

    other = shutil.copytree(folder, folder.parent / "copy")  # with the times
    again = [part.fingerprint for part in listed(other).parts(400)]
    assert again == [part.fingerprint for part in parts] and len(set(again)) == 4
    relabelled = list_pictures(str(other), Labels(("10", "1", "0"), LABELS.names))
    assert [part.fingerprint for part in relabelled.parts(400)] == again
    assert listed(other).hashes == listing.hashes
    assert all(relabelled.hashes[key] != listing.hashes[key] for key in ("images", "labels"))
    renamed = list_pictures(str(other), Labels(LABELS.ids, ("x", *LABELS.names[1:])))
    assert renamed.hashes["images"] == listing.hashes["images"]
    assert renamed.hashes["labels"] != listing.hashes["labels"]

    os.utime(other / names[600], ns=(0, 1))
    changed = [part.fingerprint for part in listed(other).parts(400)]
    assert [a == b for a, b in zip(again, changed, strict=True)] == [True, False, True, True]


def test_a_listing_needs_no_torch() -> None:
    code = "import sys, hw2.data.listing.pictures; print({'torch', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_threads_read_alike(folder: Path) -> None:
    listing = listed(folder)
    found: list[list[object]] = []
    threads = [
        threading.Thread(target=lambda: found.append(read_all(listing, 3))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [read_all(listing)] * 4
