"""Sheets pixel by pixel, and what is written beside, above and under the pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from hw2.errors import DataError
from hw2.figures import fonts
from hw2.figures.grid import GAP, MARGIN, animation, filled, sheet, to_pil


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_to_pil_keeps_channels_and_axes() -> None:
    x = torch.full((2, 3, 4, 6), -1.0)
    x[1, 0, 1, 5] = 1.0  # red, row 1, column 5
    first, second = to_pil(x)
    assert (first.size, first.mode) == ((6, 4), "RGB")
    assert second.getpixel((5, 1)) == (255, 0, 0)
    assert first.getpixel((5, 1)) == (0, 0, 0)


def test_to_pil_takes_bytes_as_they_are() -> None:
    pictures = noise(2, 3, 4, 6)
    drawn = np.stack([np.asarray(picture) for picture in to_pil(pictures)])
    assert np.array_equal(drawn, pictures.movedim(1, -1).numpy())


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


def test_a_title_stands_above_the_labels() -> None:
    images = noise(1, 2, 3, 28, 28)
    plain = np.asarray(sheet(images, None, ["one", "two"]))
    titled = np.asarray(sheet(images, None, ["one", "two"], "title"))
    more = titled.shape[0] - plain.shape[0]
    assert (titled[:more] < 100).any() and (titled[more:] == plain).all()


def test_the_longest_label_beside_the_rows_has_room() -> None:
    drawn = np.asarray(sheet(noise(2, 1, 3, 28, 28), ["a", "a longer one"]))
    assert (drawn[:, :MARGIN] == 255).all()


def test_a_long_title_is_not_cut_off() -> None:
    images = noise(1, 1, 3, 28, 28)
    drawn = np.asarray(sheet(images, title="a rather long title of a very small sheet"))
    ink = (drawn[: MARGIN + 12] < 100).any(axis=(0, 2)).nonzero()[0]
    assert drawn.shape[1] - MARGIN <= ink.max() + MARGIN
    assert (drawn[:, -MARGIN:] == 255).all()


def test_labels_wider_than_a_column_are_set_smaller() -> None:
    images = noise(1, 6, 3, 28, 28)
    drawn = np.asarray(sheet(images, None, [f"t = {t}" for t in (999, 799, 599, 399, 199, 0)]))
    head = (drawn[: -(2 * 28 + MARGIN)] < 128).any(axis=(0, 2))
    edges = [MARGIN + c * (56 + GAP) for c in range(1, 6)]
    assert not any(head[x - GAP : x].any() for x in edges)  # no label runs into the next


def test_notes_stand_under_their_pictures() -> None:
    images = noise(2, 3, 3, 28, 28)
    notes = [["a", "", "b"], ["", "c", ""]]
    drawn = np.asarray(sheet(images, notes=notes))
    bare = np.asarray(sheet(images))
    pitch = (drawn.shape[0] - bare.shape[0]) // 2 + 56 + GAP
    assert drawn.shape[1] == bare.shape[1] and pitch > 56 + GAP + 9
    for r in range(2):
        for c in range(3):
            y, x = MARGIN + r * pitch, MARGIN + c * (56 + GAP)
            expected = images[r, c].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
            assert (drawn[y : y + 56, x : x + 56] == expected).all()
            under = drawn[y + 56 : y + pitch - GAP, x : x + 56]
            assert (under < 128).any() == bool(notes[r][c])
            middle = (under < 128).any(axis=(0, 2)).nonzero()[0]
            assert not notes[r][c] or abs(middle.mean() - 27.5) < 1.5
    beside = np.asarray(sheet(images, ["one", "two"], notes=notes))[:, : -drawn.shape[1]]
    inked = (beside < 128).any(axis=(1, 2)).nonzero()[0]
    assert abs(inked[inked < pitch].mean() - MARGIN - 28) < 4  # at the picture's middle


def test_notes_wider_than_a_picture_set_the_columns_apart() -> None:
    images = noise(2, 3, 3, 8, 8)
    notes = [["norm=443.2"] * 3, ["norm=9.1"] * 3]
    drawn = np.asarray(sheet(images, notes=notes))
    runs = np.split(drawn, [MARGIN + 16 + GAP // 2], axis=0)[1]  # below the first pictures
    first_note = (runs[: MARGIN + 8] < 128).any(axis=(0, 2))
    gaps = np.diff(first_note.nonzero()[0])
    assert (gaps > MARGIN // 2).sum() == 2  # three notes with paper between
    assert not first_note[:MARGIN].any() and not first_note[-MARGIN:].any()
    row = drawn[MARGIN : MARGIN + 16]
    columns = (row != 255).any(axis=(0, 2)).nonzero()[0]
    starts = [columns[0], *columns[1:][np.diff(columns) > 1]]
    assert len(starts) == 3
    ends = [*columns[:-1][np.diff(columns) > 1], columns[-1]]
    beside = [starts[0] - MARGIN, drawn.shape[1] - MARGIN - 1 - ends[-1]]
    assert min(beside) > 0 and abs(beside[0] - beside[1]) <= 1  # in the middle of its cell
    for c, x in enumerate(starts):
        expected = images[0, c].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
        assert (row[:, x : x + 16] == expected).all()


def test_float_and_uint8_pictures_draw_the_same_sheet() -> None:
    images = noise(1, 2, 3, 4, 4)
    assert sheet(images).tobytes() == sheet(images.float() / 127.5 - 1).tobytes()


def test_white_pictures_fill_up_what_is_missing_at_the_end() -> None:
    images = noise(2, 3, 4, 4)
    found = filled(images, 5)
    assert torch.equal(found[:2], images) and (found[2:] == 255).all() and len(found) == 5
    assert torch.equal(filled(images, 2), images)


def test_a_label_of_several_lines_is_drawn_in_one() -> None:
    images = noise(1, 2, 3, 8, 8)
    drawn = [sheet(images, [text], [text] * 2).tobytes() for text in ("a\nb\r\x85c", "a b c")]
    assert drawn[0] == drawn[1]


def test_chinese_beside_the_rows_alone_is_drawn() -> None:
    images = noise(1, 2, 3, 8, 8)
    drawn = [sheet(images, [name], ["a", "b"]).tobytes() for name in ("臉", "狗")]
    assert (drawn[0] != drawn[1]) == (fonts._chinese() is not None)  # else a box stands for each


def test_chinese_is_not_bold() -> None:
    if found := fonts._chinese():
        assert "Bold" not in found[1].name


def test_sheets_that_cannot_be_drawn_are_refused() -> None:
    images = noise(2, 3, 3, 4, 4)
    for labels in (["a", "b"], list("abcd")):
        with pytest.raises(DataError, match=f"{len(labels)} column labels for 3 columns"):
            sheet(images, col_labels=labels)
    with pytest.raises(DataError, match=r"rows of \[3, 2\] notes for 2 rows of 3 pictures"):
        sheet(images, notes=[["a", "b", "c"], ["d", "e"]])


def test_an_animation_plays_its_frames_in_order_and_holds_the_last() -> None:
    frames = torch.stack([torch.full((3, 4, 4), level) for level in (-1.0, 0.0, 1.0)])
    gif = Image.open(io.BytesIO(animation(frames)))
    assert gif.size == (16, 16)
    assert gif.info["loop"] == 0
    played = [(f.info["duration"], f.convert("RGB").getpixel((8, 8))) for f in
              ImageSequence.Iterator(gif)]  # fmt: skip
    assert played == [(80, (0, 0, 0)), (80, (128, 128, 128)), (1500, (255, 255, 255))]
