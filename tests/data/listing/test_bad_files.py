import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hw2.data.labels import Labels
from hw2.data.listing import store
from hw2.data.listing.pictures import list_pictures
from hw2.errors import DataError
from tests.data.listing.picture_sets import LABELS, LAYOUTS, SAMPLES, read_all, reasons, write_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The set by names. Spoil it at will."""
    return Path(write_names(tmp_path / "set"))


OUTSIDE = "it leaves the folder of the manifest, below which paths are"
MISNAMED = "misnamed: want {class}_{n}.png"
NO_FILE, FOLDER = "it is not a regular file", "it is a folder"
LEAVES = "it leaves the folder by a link"
BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "1_90.png": (NO_FILE, os.mkfifo),
    "1_91.png": (FOLDER, lambda path: path.mkdir()),
    "1_92.png": ("the file is missing", lambda path: path.symlink_to("nowhere.png")),
    "1_93.png": ("the file is missing", lambda path: path.symlink_to("1_93.png")),
    "1_94.png": (LEAVES, lambda path: path.symlink_to(path.parents[1] / "outside.png")),
    "1_941.png": (LEAVES, lambda path: path.symlink_to("../set-too/0_0.png")),
    "1_95.png": (
        "5000 bytes are over the allowed 4999",
        lambda path: path.write_bytes(b"x" * 5000),
    ),
    "holiday.png": (MISNAMED, lambda path: path.write_bytes(b"x")),
    "_3.png": (MISNAMED, lambda path: path.write_bytes(b"x")),
    "1_.png": (MISNAMED, lambda path: path.write_bytes(b"x")),
    "1_².png": (MISNAMED, lambda path: path.write_bytes(b"x")),
    "cat_1.png": (MISNAMED, lambda path: path.write_bytes(b"x")),
    "1_96": ("not a picture's suffix (.bmp .jpeg .jpg .png .webp)", lambda path: path.touch()),
    "1_97.gif": ("not a picture's suffix (.bmp .jpeg .jpg .png .webp)", lambda path: path.touch()),
    "1_98\\xff.png": (
        "its name is not UTF-8",
        lambda path: open(os.fsencode(path.parent) + b"/1_98\xff.png", "wb").close(),
    ),
    "more": (FOLDER, lambda path: path.mkdir()),
}


def test_bad_files_stay_in_the_table_with_their_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_FILE_BYTES", 4999)
    (folder.parent / "outside.png").write_bytes(b"x")
    write_names(folder.parent / "set-too")
    for name, (_, make) in BAD.items():
        make(folder / name)
    (folder / "10_0.png").write_bytes(b"")
    (folder / "0_0.png").unlink()
    (folder / "0_0.png").symlink_to("0_1.png")  # inside: as good as a file
    listing = list_pictures(str(folder), LABELS)
    assert reasons(listing) == {name: reason for name, (reason, _) in BAD.items()}
    found = dict(zip(listing.table["name"].to_pylist(), read_all(listing), strict=True))
    assert {name: found[name][1:] for name in BAD} == {
        name: (None, reason) for name, (reason, _) in BAD.items()
    }
    assert found["10_0.png"] == (2, b"", None)
    assert found["0_0.png"] == found["0_1.png"]
    assert len(found) == len(SAMPLES) + len(BAD)


def test_a_set_behind_a_link_holds_its_own_links(folder: Path) -> None:
    (folder / "0_9.png").symlink_to("0_1.png")
    (folder / "set.csv").write_text("path,label\n0_9.png,0\n0_1.png,0\n")
    (folder.parent / "link").symlink_to("set")
    listing = list_pictures(str(folder.parent / "link/set.csv"), LABELS)
    one, other = read_all(listing)
    assert one == other == (0, SAMPLES[1][2], None)
    assert not reasons(list_pictures(str(folder.parent / "link"), LABELS, "names")).keys() - {
        "set.csv"
    }


def test_bad_files_among_folders(tmp_path: Path) -> None:
    folder = Path(LAYOUTS["folders"][0](tmp_path / "set"))
    (tmp_path / "out").mkdir()
    (folder / "1/linked").symlink_to(tmp_path / "out")
    (folder / "1/loop").symlink_to(folder)
    (folder / "1/.git").mkdir()
    (folder / "1/.git/a.png").touch()
    (folder / "lost.png").touch()
    (folder / "notes.txt").touch()
    (folder / "0/notes.txt").touch()
    (folder / "0/album.PNG").mkdir()
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"no usable picture: '0': it is a folder; .* 3 more"):
        list_pictures(str(folder), LABELS)  # a picture beside the folders: auto takes it for names
    listing = list_pictures(str(folder), LABELS, "folders")
    assert reasons(listing) == {
        "1/linked": LEAVES,
        "1/loop": NO_FILE,
        "lost.png": "it lies in no class's folder",
        "notes.txt": "not a picture's suffix (.bmp .jpeg .jpg .png .webp)",
        "0/notes.txt": "not a picture's suffix (.bmp .jpeg .jpg .png .webp)",
        "0/album.PNG": FOLDER,
    }


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../outside.png", OUTSIDE),
        ("a/../../outside.png", OUTSIDE),
        ("..\\outside.png", OUTSIDE),
        ("C:\\outside.png", OUTSIDE),
        ("/etc/passwd.png", OUTSIDE),
        ("out/outside.png", LEAVES),
        ("out.png", LEAVES),
        ("none.png", "the file is missing"),
        ("", "it has no path"),
        ("x" * 300 + ".png", "the file is missing"),
        ("a\0.png", "the file is missing"),
        ("a\0/b.png", "not a usable file name"),
        (".", NO_FILE),
    ],
)
def test_a_manifest_stays_in_its_folder(folder: Path, path: str, reason: str) -> None:
    (folder.parent / "outside.png").write_bytes(b"x")
    (folder / "out").symlink_to(folder.parent)
    (folder / "out.png").symlink_to("../outside.png")
    (folder / "set.csv").write_text(f"path,label\n1_0.png,1\n{path},1\n1_1.png,\n")
    listing = list_pictures(str(folder / "set.csv"), LABELS)
    assert reasons(listing) == {path: reason, "1_1.png": "it has no label"}


def test_a_manifest_says_what_text_says(tmp_path: Path) -> None:
    """pyarrow's guesses would read 01 as 1 and NA as nothing."""
    for name in ("a.png", "b,\nc.png", "NA.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "set.csv").write_text('label,path\n01,a.png\nNA,"b,\nc.png"\n01 , NA.png\n')
    listing = list_pictures(str(tmp_path / "set.csv"), Labels(("01", "NA"), ("x", "y")))
    rows = dict(zip(*(listing.table[key].to_pylist() for key in ("name", "label")), strict=True))
    assert rows == {"a.png": 0, "b,\nc.png": 1, "NA.png": 0}


def test_a_manifest_of_parquet_may_lack_cells(folder: Path) -> None:
    cells = {"label": ["1", "1", None], "note": [0, 1, 2], "path": ["1_0.png", None, "1_1.png"]}
    pq.write_table(pa.table(cells), folder / "set.parquet")
    listing = list_pictures(str(folder / "set.parquet"), LABELS)
    assert reasons(listing) == {"": "it has no path", "1_1.png": "it has no label"}
    assert (1, SAMPLES[4][2], None) in read_all(listing)
