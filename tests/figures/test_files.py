"""Files of pictures and bytes appear whole or not at all."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from hw2.figures.files import write_atomic
from hw2.figures.grid import to_pil


def picture() -> Image.Image:
    generator = torch.Generator().manual_seed(0)
    return to_pil(torch.randint(0, 256, (1, 3, 4, 4), generator=generator).to(torch.uint8))[0]


def test_write_atomic_writes_pictures_and_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "a.png", picture())
    write_atomic(tmp_path / "new" / "b.gif", b"old")
    write_atomic(tmp_path / "new" / "b.gif", b"bytes")
    assert Image.open(tmp_path / "new" / "a.png").tobytes() == picture().tobytes()
    assert (tmp_path / "new" / "b.gif").read_bytes() == b"bytes"
    assert sorted(x.name for x in (tmp_path / "new").iterdir()) == ["a.png", "b.gif"]
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "new" / "a.png").stat().st_mode & 0o777 == 0o666 & ~umask


def test_write_atomic_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").write_text("kept")
    with pytest.raises(OSError):
        write_atomic(tmp_path / "folder", b"cannot replace a folder")
    assert [x.name for x in tmp_path.iterdir()] == ["folder"]
