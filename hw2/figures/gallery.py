"""Pictures in labelled rows, with notes under each."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hw2.figures.fonts import font
from hw2.figures.grid import INK, MARGIN, PAPER, to_pil

SIDE = 128  # screen pixels of a picture's longer side, at most
PITCH = SIDE + 16  # from one picture to the next
PER_LINE = 10  # pictures side by side; more go on below
WIDTH = 4 * PITCH  # of the narrowest gallery, so that its texts have room
TITLE_SIZE, LABEL_SIZE, NOTE_SIZE = 19, 15, 12
MAX_LINES = 2  # that one note may take


@dataclass(frozen=True)
class GalleryRow:
    """Pictures under one label; `notes` has for each picture the lines that stand under it."""

    label: str
    pictures: UInt8[Tensor, "n 3 h w"]
    notes: Sequence[Sequence[str]]


def gallery(rows: Sequence[GalleryRow], title: str = "") -> Image.Image:
    """Rows of pictures, each under its label; a row without pictures says "none".

    Small pictures are enlarged by whole factors, large ones reduced, to SIDE screen pixels. Texts
    are wrapped at the width they have, and shortened where two lines do not hold them.
    """
    columns = min(max(len(row.pictures) for row in rows), PER_LINE)
    inner = max(columns * PITCH - (PITCH - SIDE), WIDTH)
    parts = [_text(title, inner, TITLE_SIZE)] if title else []
    parts += [part for row in rows for part in (_text(row.label, inner, LABEL_SIZE), _row(row))]
    height = sum(part.height + MARGIN for part in parts) + MARGIN
    canvas = Image.new("RGB", (inner + 2 * MARGIN, height), PAPER)
    y = MARGIN
    for part in parts:
        canvas.paste(part, (MARGIN, y))
        y += part.height + MARGIN
    return canvas


def fitted(pictures: UInt8[Tensor, "n 3 h w"], side: int = SIDE) -> list[Image.Image]:
    """The pictures with their longer side at most `side`: enlarged by a whole factor, or reduced.

    Enlarged pixels stay squares, so that nothing is shown that the classifier did not see.
    """
    *_, h, w = pictures.shape
    factor = side // max(h, w)
    if factor:
        return to_pil(pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    size = max(round(w * side / max(h, w)), 1), max(round(h * side / max(h, w)), 1)
    return [x.resize(size, Image.Resampling.LANCZOS) for x in to_pil(pictures)]


def shortened(text: str, width: float, type_: ImageFont.FreeTypeFont) -> str:
    """`text`, or its beginning and an ellipsis, at most `width` pixels wide."""
    if type_.getlength(text) <= width:
        return text
    ends = (text[:n].rstrip() + "…" for n in range(min(len(text), int(width)) - 1, 0, -1))
    return next((x for x in ends if type_.getlength(x) <= width), "…")


def lines_of(text: str, width: float, type_: ImageFont.FreeTypeFont, most: int) -> list[str]:
    """`text` in at most `most` lines `width` pixels wide, broken at blanks; the last shortened."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most - 1:
        count = 1
        while count < len(words) and type_.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        lines.append(shortened(" ".join(words[:count]), width, type_))
        words = words[count:]
    return [*lines, shortened(" ".join(words), width, type_)] if words else lines


def _row(row: GalleryRow) -> Image.Image:
    if not len(row.pictures):
        return _text("none", WIDTH, NOTE_SIZE)
    type_ = font(NOTE_SIZE, *(note for own in row.notes for note in own))
    notes = [[line for note in own for line in lines_of(note, SIDE, type_, MAX_LINES)]
             for own in row.notes]  # fmt: skip
    pictures = fitted(row.pictures)
    step = round(1.25 * NOTE_SIZE)
    below = pictures[0].height + MARGIN // 2
    height = below + step * max(map(len, notes)) + MARGIN
    columns, count = min(len(pictures), PER_LINE), -(-len(pictures) // PER_LINE)
    canvas = Image.new("RGB", (columns * PITCH, count * height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, (picture, texts) in enumerate(zip(pictures, notes, strict=True)):
        x, y = i % PER_LINE * PITCH, i // PER_LINE * height
        canvas.paste(picture, (x, y))
        for line, text in enumerate(texts):
            draw.text((x, y + below + line * step), text, INK, type_, anchor="la")
    return canvas


def _text(text: str, width: int, size: int) -> Image.Image:
    type_, step = font(size, text), round(1.25 * size)
    lines = lines_of(text, width, type_, 3)
    canvas = Image.new("RGB", (width, max(step * len(lines), 1)), PAPER)
    for i, line in enumerate(lines):
        ImageDraw.Draw(canvas).text((0, i * step), line, INK, type_, anchor="la")
    return canvas
