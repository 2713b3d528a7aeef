"""Figures pixel by pixel where they promise it, and readable back where not."""

import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from hw2.errors import ConfigError, DataError
from hw2.figures import (
    GAP,
    MARGIN,
    animation,
    bar,
    curves,
    interval_curve,
    sheet,
    strip,
    to_pil,
    to_uint8,
    write_atomic,
)
from hw2.metrics.intervals import UNDEFINED, wilson


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_to_uint8_is_exact_on_known_values() -> None:
    known = {-1.0: 0, 1.0: 255, 0.0: 128, -7.0: 0, 1.01: 255, -0.5: 64, 0.5: 191, math.nan: 128,
             math.inf: 255, -math.inf: 0}  # fmt: skip
    x = torch.tensor(list(known)).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    found = to_uint8(x)
    assert found.shape == (len(known), 2, 2, 3)
    assert found[:, 1, 1, 2].tolist() == list(known.values())


def test_to_uint8_inverts_the_map_of_the_data_for_every_level() -> None:
    levels = torch.arange(256).to(torch.uint8)
    pictures = levels.view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_uint8(pictures.float() / 127.5 - 1)[0, ..., 1].flatten(), levels)
    assert torch.equal(to_uint8(pictures)[0, ..., 1].flatten(), levels)


def test_to_uint8_does_not_stretch_a_dim_picture() -> None:
    dim, bright = torch.full((1, 3, 4, 4), -0.9), torch.ones(1, 3, 4, 4)
    assert torch.equal(to_uint8(torch.cat([dim, bright]))[0], to_uint8(dim)[0])


def test_to_pil_keeps_channels_and_axes() -> None:
    x = torch.full((2, 3, 4, 6), -1.0)
    x[1, 0, 1, 5] = 1.0  # red, row 1, column 5
    first, second = to_pil(x)
    assert (first.size, first.mode) == ((6, 4), "RGB")
    assert second.getpixel((5, 1)) == (255, 0, 0)
    assert first.getpixel((5, 1)) == (0, 0, 0)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_bare_sheet_has_each_pixel_in_its_place(scale: int) -> None:
    images = noise(2, 3, 3, 5, 7)
    drawn = np.asarray(sheet(images, scale=scale))
    h, w = 5 * scale, 7 * scale
    assert drawn.shape == (2 * h + GAP + 2 * MARGIN, 3 * w + 2 * GAP + 2 * MARGIN, 3)
    seen = np.zeros(drawn.shape[:2], bool)
    for r in range(2):
        for c in range(3):
            y, x = MARGIN + r * (h + GAP), MARGIN + c * (w + GAP)
            cell = drawn[y : y + h, x : x + w]
            expected = images[r, c].permute(1, 2, 0).numpy()
            assert (cell == np.kron(expected, np.ones((scale, scale, 1), np.uint8))).all()
            seen[y : y + h, x : x + w] = True
    assert (drawn[~seen] == 255).all()  # gaps and margins are paper


def test_labels_and_title_leave_the_pictures_as_they_are() -> None:
    images = noise(2, 3, 3, 28, 28)
    bare = np.asarray(sheet(images))[MARGIN:, MARGIN:]
    full = np.asarray(sheet(images, ["eta 0", "eta 1"], range(3), "three noises"))
    assert full.shape[0] > bare.shape[0] + 20 and full.shape[1] > bare.shape[1] + 20
    assert (full[-bare.shape[0] :, -bare.shape[1] :] == bare).all()
    above, beside = full[: -bare.shape[0]], full[:, : -bare.shape[1]]
    assert (above < 100).any() and (beside < 100).any()  # something is written in ink


def test_a_long_title_is_not_cut_off() -> None:
    images = noise(1, 1, 3, 28, 28)
    drawn = np.asarray(sheet(images, title="a rather long title of a very small sheet"))
    ink = (drawn[: MARGIN + 12] < 100).any(axis=(0, 2)).nonzero()[0]
    assert drawn.shape[1] - MARGIN <= ink.max() + MARGIN
    assert (drawn[:, -MARGIN:] == 255).all()


def test_labels_wider_than_a_column_are_set_smaller() -> None:
    images = noise(1, 6, 3, 28, 28)
    drawn = np.asarray(strip(images[0], [f"t = {t}" for t in (999, 799, 599, 399, 199, 0)]))
    head = (drawn[: -(2 * 28 + MARGIN)] < 128).any(axis=(0, 2))
    edges = [MARGIN + c * (56 + GAP) for c in range(1, 6)]
    assert not any(head[x - GAP : x].any() for x in edges)  # no label runs into the next


def test_float_and_uint8_pictures_draw_the_same_sheet() -> None:
    images = noise(1, 2, 3, 4, 4)
    assert sheet(images).tobytes() == sheet(images.float() / 127.5 - 1).tobytes()


def test_sheets_that_cannot_be_drawn_are_refused() -> None:
    images = noise(2, 3, 3, 4, 4)
    with pytest.raises(DataError, match="2 column labels for 3 columns"):
        sheet(images, col_labels=["a", "b"])
    with pytest.raises(DataError, match="nothing to draw"):
        sheet(images[:0])
    with pytest.raises(ConfigError, match="scale=0"):
        sheet(images, scale=0)
    with pytest.raises(DataError, match="no frames"):
        animation(images[0, :0])


def test_an_animation_plays_its_frames_in_order_and_holds_the_last() -> None:
    frames = torch.stack([torch.full((3, 4, 4), level) for level in (-1.0, 0.0, 1.0)])
    gif = Image.open(io.BytesIO(animation(frames, scale=3, ms=50, hold_ms=700)))
    assert gif.size == (12, 12)
    assert gif.info["loop"] == 0
    played = [(f.info["duration"], f.convert("RGB").getpixel((6, 6))) for f in
              ImageSequence.Iterator(gif)]  # fmt: skip
    assert played == [(50, (0, 0, 0)), (50, (128, 128, 128)), (700, (255, 255, 255))]


def test_write_atomic_writes_pictures_and_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    picture = to_pil(noise(1, 3, 4, 4))[0]
    write_atomic(tmp_path / "new" / "a.png", picture)
    write_atomic(tmp_path / "new" / "b.gif", b"old")
    write_atomic(tmp_path / "new" / "b.gif", b"bytes")
    assert Image.open(tmp_path / "new" / "a.png").tobytes() == picture.tobytes()
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
    with pytest.raises(ConfigError, match=r"use \.png"):
        write_atomic(tmp_path / "a.xyz", to_pil(noise(1, 3, 4, 4))[0])


def colours_in(picture: Image.Image) -> int:
    return len(picture.getcolors(1 << 20) or [])


def test_charts_draw_what_they_are_given_and_pass_over_nan() -> None:
    rows = [{"step": i, "loss": math.nan if i == 5 else 1 / (i + 1)} for i in range(100)]
    rows[3] = {"step": 3, "other": 2.0}
    empty = curves([], ["loss"])
    line = curves(rows, ["loss"], "loss")
    both = curves(rows, ["loss", "other"])
    assert line.size == empty.size and line.mode == "RGB"
    assert colours_in(line) > colours_in(empty)
    assert both.tobytes() != line.tobytes()
    found = [wilson(5, 10), wilson(10, 10), UNDEFINED]
    assert colours_in(bar("abc", found, "bars", "accuracy")) > 10
    assert colours_in(interval_curve([0, 1, 2], {"mnistm": found, "svhn": found})) > 10
    with pytest.raises(DataError, match="2 labels for 3 bars"):
        bar("ab", found)
    with pytest.raises(DataError, match="3 points over 2 values"):
        interval_curve([0, 1], {"mnistm": found})


def test_charts_smooth_without_lag() -> None:
    from hw2.figures import _smoothed

    straight = [2.0 * i for i in range(200)]
    assert _smoothed(straight) == pytest.approx(straight)
    rough = np.random.default_rng(0).normal(size=400)
    assert np.std(_smoothed(rough.tolist())) < 0.5 * np.std(rough)
    assert _smoothed([]) == []


def test_figures_touch_no_global_state_of_pyplot() -> None:
    code = (
        "import sys, hw2.figures as f; assert 'matplotlib' not in sys.modules;"
        "f.curves([{'step': 0, 'loss': 1.0}], ['loss']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
