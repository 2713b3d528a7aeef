"""Rows of digits as ink masks, drawn with the fonts that ship inside matplotlib."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hw2.data.offline.photos import package_folder
from hw2.errors import DataError

# Every shipped face with upright modern digits, looked at one by one. Left out: cmmi10 (old-style
# digits, whose 0 and 1 look like o and I) and the symbol fonts, which have no digits.
FACES: tuple[str, ...] = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
HEIGHT = 96  # of a digit, in mask pixels, before strokes are thickened


@cache
def font(face: str) -> ImageFont.FreeTypeFont:
    """A face at the size whose "0" is HEIGHT pixels high."""
    path = package_folder("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{face}.ttf"
    if not path.is_file():
        raise DataError(f"matplotlib has no {path.name}: install the version in requirements.lock")
    # BASIC layout: the other engine is an optional system library, which would change the bytes.
    probe = ImageFont.truetype(path, 100, layout_engine=ImageFont.Layout.BASIC)
    _, top, _, bottom = probe.getbbox("0")
    return probe.font_variant(size=round(100 * HEIGHT / (bottom - top)))


def letter(face: str, digit: int) -> str:
    """The character that shows a digit: a dotted zero reads as 8 when blurred, so O stands in."""
    return "O" if digit == 0 and "Mono" in face else str(digit)


@cache
def glyph(face: str, digit: int, stroke: int) -> np.ndarray:
    """The ink of one digit, uint8 (HEIGHT + margins, width): tight in width, on a common baseline.

    Args:
        face: one of FACES.
        digit: 0..9.
        stroke: pixels by which the strokes are thickened, which makes thin faces readable.
    """
    drawn = font(face)
    margin = HEIGHT // 6 + stroke
    _, top, _, _ = drawn.getbbox("0")
    shown = letter(face, digit)
    left, _, right, _ = drawn.getbbox(shown, stroke_width=stroke)
    mask = Image.new("L", (round(right - left), HEIGHT + 2 * margin))
    ImageDraw.Draw(mask).text(
        (-left, margin - top), shown, fill=255, font=drawn, stroke_width=stroke
    )
    return np.asarray(mask)


def row(
    face: str, digits: tuple[int | None, int, int | None], stroke: int, gap: int
) -> tuple[Image.Image, float, float]:
    """A digit between its neighbours (None: no neighbour on that side).

    Returns:
        The mask, mode L, and the x and y of the centre of the middle digit.
    """
    before, middle, after = digits
    inks = [glyph(face, d, stroke) for d in (before, middle, after) if d is not None]
    width = sum(ink.shape[1] for ink in inks) + gap * (len(inks) - 1)
    mask = np.zeros((inks[0].shape[0], width), np.uint8)
    x, centre = 0, 0.0
    for place, ink in enumerate(inks):
        mask[:, x : x + ink.shape[1]] = ink
        if place == (before is not None):
            centre = x + ink.shape[1] / 2
        x += ink.shape[1] + gap
    return Image.fromarray(mask), centre, mask.shape[0] / 2
