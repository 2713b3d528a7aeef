import errno
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from hw2.data.images import decode, decode_bytes, orientation
from hw2.errors import DataError, StorageError
from tests.attacks.hostile import png
from tests.data.listing.picture_sets import encoded


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_bytes_decode_to_what_the_file_does(tmp_path: Path, kind: str) -> None:
    data = encoded(3, kind)
    (tmp_path / "file").write_bytes(data)
    pixels = decode_bytes(data)
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 5, 3)
    np.testing.assert_array_equal(pixels, decode(tmp_path / "file"))
    if kind in ("PNG", "BMP"):  # the others lose some
        expected = np.random.default_rng(3).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        np.testing.assert_array_equal(pixels, expected)


def test_bytes_are_refused_as_a_file_is(tmp_path: Path) -> None:
    refused = {
        "text": b"this is no picture",
        "cut": encoded(0)[:60],
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EOF\n",
        "GIF": encoded(0, "GIF"),
        "huge": png(8001, 8000),
        "bomb": png(2**31 - 1, 2**31 - 1),
    }
    for name, data in refused.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError) as of_file:
            decode(tmp_path / name)
        with pytest.raises(DataError) as of_bytes:
            decode_bytes(data)
        assert str(of_bytes.value) == str(of_file.value), name
        assert "\n" not in str(of_bytes.value)
    with pytest.raises(DataError, match="the file is empty"):
        decode_bytes(b"")


@pytest.mark.parametrize("where", ["stat", "open"])
def test_a_disk_that_fails_makes_no_picture_a_broken_one(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "1.png").write_bytes(encoded(1))

    def stale(*given: object, **more: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as failing:
        failing.setattr(*((Path, "stat", stale) if where == "stat" else (Image, "open", stale)))
        with pytest.raises(StorageError, match=r"1\.png cannot be read \(Stale file handle\)"):
            decode(path)
    assert decode(path).shape == (6, 5, 3)
    monkeypatch.setattr(Image, "open", lambda *given, **more: [0] * sys.maxsize)
    with pytest.raises(MemoryError):
        decode_bytes(encoded(1))


def exif_of(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    return exif


@pytest.mark.parametrize("count", [2, 1000])  # of one number; it ends behind the file
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_of_a_broken_exif_block_nothing_is_said(
    tmp_path: Path, suffix: str, count: int, recwarn: pytest.WarningsRecorder
) -> None:
    entry = struct.pack("<HHHIII", 1, ExifTags.Base.Orientation, 3, count, 6, 0)
    path = tmp_path / f"photo{suffix}"
    Image.new("RGB", (8, 12)).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0" + entry)
    assert decode(path, upright=True).shape[2] == 3 and orientation(path) in (1, 6)
    assert not list(recwarn)


def test_a_photograph_is_turned_upright_where_that_is_asked_for(tmp_path: Path) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    stored = {  # the standard's: 6 and 8 are a camera that was turned
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    path = tmp_path / "photo.png"
    for tag, pixels in stored.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif_of(tag))
        assert orientation(path) == tag
        for read in (decode, lambda path, **how: decode_bytes(path.read_bytes(), **how)):
            np.testing.assert_array_equal(read(path, upright=True), upright)
            np.testing.assert_array_equal(read(path), pixels)
    for nonsense in (exif_of(0), exif_of(9), b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        Image.fromarray(upright).save(path, exif=nonsense)
        assert orientation(path) == 1
        np.testing.assert_array_equal(decode(path, upright=True), upright)
    path.write_bytes(b"no picture")
    assert orientation(path) == 1


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (8, 13), (13, 8)])
def test_the_middle_square_of_wide_and_of_high_pictures(
    rows: int, columns: int, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    top, left = (rows - 8) // 2, (columns - 8) // 2
    middle = decode(tmp_path / "1.png", middle=True)
    np.testing.assert_array_equal(middle, pixels[top : top + 8, left : left + 8])
