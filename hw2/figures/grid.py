"""Pictures in grids: sheets, strips, animations."""

import io
import math
from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from hw2.disclosure import one_line
from hw2.errors import DataError
from hw2.figures.fonts import fitting
from hw2.pixels import to_uint8

Pictures = Float[Tensor, "n 3 h w"] | UInt8[Tensor, "n 3 h w"]
Labels = Sequence[object] | None
PictureGrid = Float[Tensor, "rows cols 3 h w"] | UInt8[Tensor, "rows cols 3 h w"]

FRAME_SCALE, FRAME_MS, HOLD_MS = 4, 80, 1500  # of an animation
GAP = 2  # pixels between two pictures
MARGIN = 8  # pixels around a sheet, and between labels and pictures
LABEL = 15  # pixels of a label's type, at most
INK, PAPER = "#222222", "#ffffff"


def to_pil(x: Pictures) -> list[Image.Image]:
    """One RGB picture each of pictures in [-1, 1], or 0..255 if uint8."""
    return [Image.fromarray(picture.numpy()) for picture in _channels_last(x)]


def _channels_last(x: Pictures) -> UInt8[Tensor, "n h w 3"]:
    return (x if x.dtype == torch.uint8 else to_uint8(x)).movedim(1, -1).contiguous().cpu()


def sheet(
    images: PictureGrid,
    row_labels: Labels = None,
    col_labels: Labels = None,
    title: str = "",
    scale: int = 2,
    notes: Sequence[Sequence[str]] | None = None,
) -> Image.Image:
    """A grid of pictures in [-1, 1] (or uint8), each pixel a square of `scale` screen pixels.

    Labels stand left of the rows and above the columns, in a smaller type where a column is
    narrow. `notes` has one short text for each picture, row by row, to stand under it in small
    type; columns are set apart where a note needs more room than a picture. The grid has GAP
    pixels between pictures, and MARGIN on each side without a label. Raises DataError for a wrong
    number of labels or notes.
    """
    rows, cols, _, h, w = images.shape
    for name, labels, count in (("row", row_labels, rows), ("column", col_labels, cols)):
        if labels and len(labels) != count:
            raise DataError(f"{len(labels)} {name} labels for {count} {name}s of pictures")
    if notes is not None and [len(row) for row in notes] != [cols] * rows:
        given = [len(row) for row in notes]
        raise DataError(f"rows of {given} notes for {rows} rows of {cols} pictures each")
    named = ([one_line(str(x)) for x in labels or ()] for labels in (row_labels, col_labels))
    beside, above = named
    below = [text for row in notes or () for text in row]
    note_font = fitting(below, w * scale, largest=12)
    apart = max((math.ceil(note_font.getlength(text)) + MARGIN // 2 for text in below), default=0)
    cell_w = max(w * scale, apart)
    cell_h = h * scale + (round(1.2 * note_font.size) + MARGIN // 2 if below else 0)
    grid = _grid(images, scale, cell_h, cell_w)
    font = fitting(above, cell_w, largest=LABEL, beside=beside)
    title_font = fitting([title], grid.width, largest=17)

    left = MARGIN + max((math.ceil(font.getlength(text)) + MARGIN for text in beside), default=0)
    labels_at = MARGIN + (round(1.2 * title_font.size) + MARGIN if title else 0)
    top = labels_at + (round(1.2 * font.size) + MARGIN // 2 if above else 0)
    width = max(left + grid.width, MARGIN + math.ceil(title_font.getlength(title))) + MARGIN
    canvas = Image.new("RGB", (width, top + grid.height + MARGIN), PAPER)
    canvas.paste(grid, (left, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), title, INK, title_font, anchor="la")
    middles = [left + c * (cell_w + GAP) + cell_w / 2 for c in range(cols)]
    tops = [top + r * (cell_h + GAP) for r in range(rows)]
    for middle, text in zip(middles, above, strict=False):
        draw.text((middle, labels_at), text, INK, font, anchor="ma")
    for y, text in zip(tops, beside, strict=False):
        draw.text((left - MARGIN, y + h * scale / 2), text, INK, font, anchor="rm")
    for (y, middle), text in zip(product(tops, middles), below, strict=False):
        draw.text((middle, y + h * scale + GAP), text, INK, note_font, anchor="ma")
    return canvas


def filled(pictures: Tensor, count: int) -> Tensor:
    """At most `count` pictures, uint8, filled up to so many with white ones."""
    white = torch.full((count - len(pictures), *pictures.shape[1:]), 255, dtype=pictures.dtype)
    return torch.cat([pictures, white])


def animation(frames: Pictures) -> bytes:
    """An endless GIF of pictures in [-1, 1], FRAME_MS milliseconds each, the last one HOLD_MS.

    GIF keeps time in hundredths of a second. Equal neighbours are one longer frame.
    """
    # A palette for each frame: one for all would draw the noise well and the picture badly.
    first, *rest = [_grid(frame[None, None], FRAME_SCALE).quantize(256) for frame in frames]
    durations = [FRAME_MS] * len(rest) + [HOLD_MS]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    return buffer.getvalue()


def _grid(images: Tensor, scale: int, cell_h: int = 0, cell_w: int = 0) -> Image.Image:
    """(rows, cols, 3, h, w) as one picture on PAPER, GAP pixels between.

    Each stands at the top and middle of its cell, which is no smaller than the picture.
    """
    rows, cols, _, h, w = images.shape
    cells = _channels_last(images.flatten(0, 1))
    cells = cells.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    h, w = h * scale, w * scale
    pitch_h, pitch_w = max(cell_h, h) + GAP, max(cell_w, w) + GAP
    left = (pitch_w - GAP - w) // 2
    canvas = torch.full((rows, pitch_h, cols, pitch_w, 3), 255, dtype=torch.uint8)
    canvas[:, :h, :, left : left + w] = cells.view(rows, cols, h, w, 3).transpose(1, 2)
    canvas = canvas.view(rows * pitch_h, cols * pitch_w, 3)[:-GAP, :-GAP]
    return Image.fromarray(canvas.contiguous().numpy())
