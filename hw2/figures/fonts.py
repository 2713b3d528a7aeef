"""The type of all figures, and text that fits."""

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels as matplotlib ships it: the same on every machine."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def fitting(texts: Sequence[str], width: int, largest: int) -> ImageFont.FreeTypeFont:
    """The largest type in which each text is at most `width` pixels wide, but a readable one."""
    fonts = map(font, range(largest, 9, -1))
    return next((f for f in fonts if all(f.getlength(t) <= width for t in texts)), font(9))


def wrapped(text: str, width: float, size: int) -> str:
    """`text` in lines of at most `width` pixels, broken between words where it can be."""
    measure = font(size).getlength
    folded = (textwrap.fill(text, letters) for letters in range(len(text), 0, -1))
    return next((f for f in folded if all(measure(x) <= width for x in f.splitlines())), text)
