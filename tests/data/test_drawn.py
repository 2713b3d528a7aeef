"""Pictures that were drawn, and may have been spoilt since."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data.drawn import read_made
from hw2.errors import DataError

PIXELS = np.random.default_rng(0).integers(256, size=(3, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_pictures_come_back_as_they_were_drawn(paths: list[Path]) -> None:
    assert torch.equal(read_made(paths), torch.from_numpy(PIXELS).movedim(-1, 1))


def test_no_byte_can_change_without_a_word(tmp_path: Path) -> None:
    path, pixels = tmp_path / "drawn.png", np.kron(PIXELS[0], np.ones((4, 4, 1), np.uint8))
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    for place in range(len(whole) - 12):  # the last part holds nothing
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match="delete it, and it is drawn again"):
            read_made([path])


def test_a_spoilt_one_is_named_with_the_way_out(paths: list[Path]) -> None:
    for spoil, told in (
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "broken picture"),
        (lambda path: path.write_bytes(b""), "not a picture"),
        (lambda path: Image.new("RGB", (9, 7)).save(path), "it has 9x7 pixels, others 4x5"),
        (lambda path: path.unlink(), "the file is missing"),
    ):
        spoil(paths[1])
        refused = rf"{paths[1]}: {told}.*; delete it, and it is drawn again$"
        with pytest.raises(DataError, match=refused):
            read_made(paths)
