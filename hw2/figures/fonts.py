"""The type of all figures, and text that fits."""

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from hw2.disclosure import warn

OWN = "DejaVu Sans"  # as matplotlib ships it: the same on every machine
CHINESE = (
    *("Noto Sans CJK TC", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans TC"),
    *("Source Han Sans TC", "WenQuanYi Zen Hei", "PingFang TC", "Microsoft JhengHei"),
)


def font(size: int, *texts: str) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of `size` pixels; for `texts` that it lacks, an installed font with Chinese.

    Where there is none that is told, once.
    """
    return _of(_file_for(texts), size)


def families() -> list[str]:
    """The fonts of matplotlib's text: DejaVu Sans, and for what it lacks one with Chinese."""
    return [OWN, *(_chinese() or ())[:1]]


def _file_for(texts: Sequence[str]) -> Path:
    lacking = {c for c in "".join(texts) if c.isprintable()} - _characters()
    other = _chinese() if lacking else None
    if lacking and not other:
        _tell_once()
    return other[1] if other else _own()


@lru_cache
def _of(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache
def _own() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")


@lru_cache
def _characters() -> frozenset[str]:
    from matplotlib.font_manager import get_font

    return frozenset(map(chr, get_font(str(_own())).get_charmap()))


@lru_cache
def _chinese() -> tuple[str, Path] | None:
    """Name and file of an installed font that has Chinese characters."""
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    for name in CHINESE:
        if name in installed:
            return name, Path(fontManager.findfont(name))  # of its weights the regular one
    return None


@lru_cache
def _tell_once() -> None:
    warn(
        "figures show boxes for characters that no font here has, as Chinese ones: install one, "
        "on Debian and Ubuntu fonts-noto-cjk"
    )


def fitting(
    texts: Sequence[str], width: int, largest: int, beside: Sequence[str] = ()
) -> ImageFont.FreeTypeFont:
    """The largest type in which each text is at most `width` pixels wide, but a readable one.

    It has the characters of the texts `beside` too, which have room.
    """
    path = _file_for([*texts, *beside])
    fonts = (_of(path, size) for size in range(largest, 9, -1))
    return next((f for f in fonts if all(f.getlength(t) <= width for t in texts)), _of(path, 9))


def wrapped(text: str, width: float, size: int) -> str:
    """`text` in lines of at most `width` pixels, broken between words where it can be."""
    measure = font(size, text).getlength
    folded = (textwrap.fill(text, letters) for letters in range(len(text), 0, -1))
    return next((f for f in folded if all(measure(x) <= width for x in f.splitlines())), text)
