"""Pictures inside a page: tiles joined into one, as data URIs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hw2.data.images import decode_named
from hw2.errors import DataError

PAPER = 255


@dataclass(frozen=True)
class Picture:
    """A PNG in a page: its data URI and its size in pixels."""

    uri: str
    width: int
    height: int


def picture(pixels: np.ndarray) -> Picture:
    """uint8 (h, w, 3) as it is, without loss."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{data}", image.width, image.height)


def tiles(rows: Sequence[Sequence[np.ndarray] | np.ndarray]) -> Picture:
    """Pictures of one size in a grid without gaps: labels beside it can be placed in fractions.

    Rows may be of unequal length. Raises DataError for no pictures or pictures of other sizes.
    """
    shapes = {tile.shape for row in rows for tile in row}
    if len(shapes) != 1:
        raise DataError(f"a grid of pictures of the sizes {sorted(shapes)}: want one size")
    h, w, _ = shapes.pop()
    canvas = np.full((len(rows) * h, max(map(len, rows)) * w, 3), PAPER, np.uint8)
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            canvas[r * h : (r + 1) * h, c * w : (c + 1) * w] = tile
    return picture(canvas)


def read_tiles(paths: Sequence[Path]) -> list[np.ndarray]:
    """The pictures of `paths`; DataError with the path of one that is missing or broken."""
    return [decode_named(path) for path in paths]
