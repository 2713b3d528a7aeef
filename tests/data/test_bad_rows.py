import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from hw2.data.digits import DigitSplit, read_split
from hw2.data.tables import BadRow, left_out
from hw2.errors import DataError, StorageError
from tests.attacks.hostile import png


def read(root: Path, **settings: object) -> DigitSplit:
    return read_split(root, "train", progress=False, **settings)  # type: ignore[arg-type]


def cut(folder: Path) -> str:
    whole = (folder / "00002.png").read_bytes()
    (folder / "bad.png").write_bytes(whole[: len(whole) // 2])
    return "bad.png,2"


def text(folder: Path) -> str:
    (folder / "bad.png").write_text("this is no picture")
    return "bad.png,2"


def empty(folder: Path) -> str:
    (folder / "bad.png").touch()
    return "bad.png,2"


def huge(folder: Path) -> str:
    (folder / "bad.png").write_bytes(png(8001, 8000))
    return "bad.png,2"


def bomb(folder: Path) -> str:
    (folder / "bad.png").write_bytes(png(2**31 - 1, 2**31 - 1))
    return "bad.png,2"


def eps(folder: Path) -> str:
    (folder / "bad.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EOF\n")
    return "bad.png,2"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "bad.png")
    return "bad.png,2"


def link_out(folder: Path) -> str:
    outside = folder.parents[2] / "outside.png"
    Image.new("RGB", (28, 28)).save(outside)
    (folder / "bad.png").symlink_to(outside)
    return "bad.png,2"


def folder_link_out(folder: Path) -> str:
    outside = folder.parents[2] / "outside"
    outside.mkdir()
    Image.new("RGB", (28, 28)).save(outside / "bad.png")
    (folder / "inner").symlink_to(outside)
    return "inner/bad.png,2"


def loop(folder: Path) -> str:
    (folder / "bad.png").symlink_to("bad.png")
    return "bad.png,2"


def absolute(folder: Path) -> str:
    return f"{folder / '00002.png'},2"


def row(content: str) -> Callable[[Path], str]:
    return lambda folder: content


BAD = [
    pytest.param(row("00002.png,10"), "label '10' is outside 0..9", id="label over 9"),
    pytest.param(row("00002.png,-1"), "label '-1' is outside 0..9", id="label under 0"),
    pytest.param(row("00002.png,02"), "label '02' has zeros before it: want 2", id="label of two"),
    pytest.param(row(f"00002.png,{'0' * 5000}2"), "is not a whole", id="endless label"),
    pytest.param(row("data/00002.png,2"), "'data/00002.png': the file is missing", id="a folder"),
    pytest.param(row("00002.png,two"), "label 'two' is not a whole number", id="label a word"),
    pytest.param(row("00002.png,2.0"), "label '2.0' is not a whole number", id="label a float"),
    pytest.param(row("00002.png,"), "label '' is not a whole number", id="no label"),
    pytest.param(row("00002.png,²"), "label '²' is not a whole number", id="label not ASCII"),
    pytest.param(row("00002.png"), "'00002.png' needs two columns", id="one column"),
    pytest.param(row("00002.png;3"), "'00002.png;3' needs two columns", id="semicolon"),
    pytest.param(row("none.png,2"), "'none.png': the file is missing", id="missing"),
    pytest.param(row(",2"), "not a regular file", id="no name"),
    pytest.param(row("../../mnistm/data/00002.png,2"), "leaves the folder", id="dot dot"),
    pytest.param(row("..\\data\\00002.png,2"), "leaves the folder", id="dot dot, Windows"),
    pytest.param(row("C:\\00002.png,2"), "leaves the folder", id="drive"),
    pytest.param(row("//host/00002.png,2"), "leaves the folder", id="host"),
    pytest.param(absolute, "leaves the folder data: it is an absolute path", id="absolute"),
    pytest.param(link_out, "leaves the folder .* by a link", id="link out"),
    pytest.param(folder_link_out, "leaves the folder .* by a link", id="folder link out"),
    pytest.param(loop, "not a usable file name", id="link to itself"),
    pytest.param(row("x" * 300 + ".png,2"), "not a usable file name", id="long name"),
    pytest.param(row("x\0.png,2"), "missing|not a usable|null", id="null character"),
    pytest.param(row("x\0/y.png,2"), "not a usable file name", id="null character in a folder"),
    pytest.param(cut, "'bad.png': broken picture", id="truncated"),
    pytest.param(text, "'bad.png': not a picture", id="text"),
    pytest.param(empty, "'bad.png': not a picture", id="empty"),
    pytest.param(eps, "'bad.png': not a picture", id="EPS"),
    pytest.param(huge, "'bad.png': 8001x8000 is over 64 megapixels", id="over 64 MP"),
    pytest.param(bomb, "'bad.png': the picture is over 64 megapixels", id="bomb"),
    pytest.param(pipe, "'bad.png': it is not a regular file", id="pipe"),
]


@pytest.mark.parametrize(("make", "reason"), BAD)
def test_a_bad_row_is_refused_or_left_out(
    course_tree: Path, make: Callable[[Path], str], reason: str
) -> None:
    file = course_tree / "digits/svhn/train.csv"
    good = read(course_tree)
    header, *rows = file.read_text().splitlines()
    rows.insert(3, make(course_tree / "digits/svhn/data"))
    file.write_text("\n".join([header, *rows]) + "\n")

    for _ in range(2):  # decoded, then from the pack
        with pytest.raises(DataError, match=f"^1 bad row .*svhn/train.csv:5: .*{reason}") as raised:
            read(course_tree)
        assert "\n" not in str(raised.value)
        assert "--data.skip_bad true" in str(raised.value)
        found = read(course_tree, skip_bad=True)
        assert [(bad.file, bad.line) for bad in found.bad] == [(str(file), 5)]
        assert found.content_hash == good.content_hash  # the other rows, all and in order


def test_a_folder_that_others_may_not_enter_makes_no_row_a_bad_one(
    course_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each row it was told that its name could not be used."""

    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_symlink", refused)
    told = r"mnistm/data cannot be read \(Permission denied\): mend that, and try again"
    with pytest.raises(StorageError, match=told):
        read(course_tree, skip_bad=True)


def test_a_picture_over_the_limit_is_never_decoded(
    course_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge(course_tree / "digits/svhn/data")
    (course_tree / "digits/svhn/train.csv").write_text("a,b\nbad.png,2\n00001.png,1\n")
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: (sizes.append(self.size), load(self))[1]
    )
    assert len(read(course_tree, skip_bad=True).digits) == 6 + 1
    assert set(sizes) == {(28, 28)}


def test_of_five_bad_rows_none_is_left_unsaid(course_tree: Path) -> None:
    table = course_tree / "digits/svhn/train.csv"
    table.write_text(table.read_text() + "".join(f"none{i}.png,{i}\n" for i in range(5)))
    with pytest.raises(DataError, match=r"^5 bad rows in the train split: ") as raised:
        read(course_tree)
    assert " more" not in str(raised.value)


def test_the_error_counts_all_and_lists_five(course_tree: Path) -> None:
    for domain in ("mnistm", "svhn"):
        table = course_tree / f"digits/{domain}/train.csv"
        table.write_text(table.read_text() + "".join(f"none{i}.png,{i}\n" for i in range(4)))
    with pytest.raises(DataError) as raised:
        read(course_tree)
    message = str(raised.value)
    assert message.startswith("8 bad rows in the train split: ")
    assert message.count("is missing") == 5
    assert "mnistm/train.csv:8: 'none0.png'" in message
    assert "svhn/train.csv:8: 'none0.png'" in message
    assert "; and 3 more" in message


def test_a_mended_file_is_read_again(course_tree: Path) -> None:
    picture = course_tree / "digits/svhn/data/00004.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:100])
    with pytest.raises(DataError, match="broken picture"):
        read(course_tree)
    picture.write_bytes(whole)
    assert read(course_tree).bad == ()


def test_with_no_good_row_skipping_does_not_help(course_tree: Path) -> None:
    for domain in ("mnistm", "svhn"):
        (course_tree / f"digits/{domain}/train.csv").write_text("image_name,label\n00001.png,11\n")
    with pytest.raises(DataError, match=r"no row can be used: .*mnistm/train.csv:2: .*'11'"):
        read(course_tree, skip_bad=True)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_domain_without_a_good_row_is_not_left_out(course_tree: Path, skip_bad: bool) -> None:
    (course_tree / "digits/svhn/train.csv").write_text("image_name,label\n00001.png,1.0\n")
    told = r"svhn/train\.csv: no row can be used: .*/train\.csv:2: the label '1\.0' is not a"
    with pytest.raises(DataError, match=told) as refused:
        read(course_tree, skip_bad=skip_bad)
    assert "skip_bad" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"train.csv: cannot be read .*--data.root .*jobs.prepare_data"),
        (b"", r"train.csv:1: the table is empty"),
        (b"image_name,label\n", r"train.csv:1: the table is empty"),
        (b"00001.png,1\n00002.png,2\n", r"train.csv:1: the header is missing"),
        (b",image_name,label\n0,00001.png,1\n", r"train.csv:1: the first column .*index=False"),
        (b"image_name,label\n\xff\xfe.png,2\n", r"train.csv:1: not a CSV in UTF-8"),
        (b'image_name,label\n"' + b"x" * 200_000 + b'",2\n', r"train.csv:2: not a CSV"),
    ],
    ids=["missing", "empty", "header only", "no header", "index", "not UTF-8", "endless cell"],
)
def test_a_table_that_cannot_be_used_is_always_refused(
    course_tree: Path, content: bytes | None, reason: str
) -> None:
    table = course_tree / "digits/svhn/train.csv"
    table.unlink()
    if content is not None:
        table.write_bytes(content)
    for skip_bad in (False, True):
        with pytest.raises(DataError, match=reason) as raised:
            read(course_tree, skip_bad=skip_bad)
        assert "\n" not in str(raised.value)


def test_variants_of_the_course_tree_are_read_as_they_are(course_tree: Path) -> None:
    folder = course_tree / "digits/svhn/data"
    flat = np.zeros((56, 56, 3), np.uint8)
    flat[:] = (200, 100, 50)
    colour = Image.fromarray(flat)
    colour.save(folder / "large.png")
    colour.quantize(4).save(folder / "palette.png")
    colour.convert("RGBA").save(folder / "alpha.png")
    colour.convert("L").save(folder / "grey.png")
    colour.convert("1").save(folder / "bits.png")
    Image.fromarray(np.full((28, 28), 200 * 257, np.uint16)).save(folder / "deep.png")
    colour.save(folder / "photo.jpg", quality=100)
    (folder / "inner").mkdir()
    colour.save(folder / "inner/below.png")
    (folder / "link.png").symlink_to("large.png")
    names = ["large", "palette", "alpha", "grey", "bits", "deep", "photo"]
    names += ["inner/below", "link", "large"]
    rows = [
        f" {name}.{'jpg' if name == 'photo' else 'png'} , {i % 10} ,x"
        for i, name in enumerate(names)
    ]
    (course_tree / "digits/svhn/train.csv").write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(["file,digit,note", "", *rows, "", ""]).encode()
    )
    found = read(course_tree)
    assert found.digits[6:].tolist() == list(range(10))
    middle = dict(zip(names[:9], found.images[6:15, :, 14, 14].tolist(), strict=True))
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    for name in ("large", "palette", "alpha", "inner/below", "link"):
        assert middle[name] == [200, 100, 50], name
    assert middle["photo"] == pytest.approx([200, 100, 50], abs=2)
    assert middle["grey"] == [grey] * 3
    assert middle["deep"] == [200] * 3
    assert len(set(middle["bits"])) == 1


def test_resizing_averages_rather_than_skips(course_tree: Path) -> None:
    board = np.indices((112, 112)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(course_tree / "digits/svhn/data/00000.png")
    found = read(course_tree)
    assert (found.images[6].float() - 127.5).abs().max() < 3


@pytest.mark.parametrize(
    ("row", "skip_bad", "said"),
    [
        (BadRow("a.csv", 3, "torn"), False, "a.csv:3: torn (--data.skip_bad true leaves such out)"),
        (BadRow("a.csv", 3, "torn"), None, "a.csv:3: torn"),
        (BadRow("a.png", 0, "torn"), None, "a.png: torn"),
    ],
)
def test_a_bad_row_is_told_with_its_place_and_the_way_out_that_the_job_has(
    row: BadRow, skip_bad: bool | None, said: str
) -> None:
    with pytest.raises(DataError) as refused:
        left_out(row, skip_bad)
    assert str(refused.value) == said
    assert left_out(row, True) is row
