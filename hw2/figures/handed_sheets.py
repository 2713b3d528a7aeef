"""Sheets of pictures that students handed in, below those that were given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from hw2.disclosure import one_line
from hw2.figures.fonts import font
from hw2.figures.gallery import shortened
from hw2.figures.grid import LABEL, sheet

THUMB, GREY = 96, 128  # pixels, and what is around them, of a picture in a sheet
ROWS = 20  # of students in a sheet, at most
NAME = 300  # pixels of a student's name, which the tables have in full


@dataclass(frozen=True)
class HandedRow:
    """A student's thumbnails (THUMB, THUMB, 3), None where there is none, and a note under each."""

    name: str
    thumbs: Sequence[np.ndarray | None]
    notes: Sequence[str]


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) in the middle of a grey square of THUMB pixels."""
    cell = np.full((THUMB, THUMB, 3), GREY, np.uint8)
    picture = Image.fromarray(pixels)
    factor = THUMB / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    left, top = (THUMB - width) // 2, (THUMB - height) // 2
    small = picture.resize((width, height), Image.Resampling.BOX)
    cell[top : top + height, left : left + width] = np.asarray(small)
    return cell


def handed_sheets(
    name: str, given: HandedRow, students: Sequence[HandedRow], columns: Sequence[str], title: str
) -> Iterator[tuple[str, Image.Image]]:
    """Sheets of ROWS students each, by name: `name`, `name`_2 and so on.

    A row has a cell a label of `columns`; cells without a picture are grey.
    """
    for number, first in enumerate(range(0, len(students), ROWS), 1):
        rows = [given, *students[first : first + ROWS]]
        cells = torch.from_numpy(np.array([_cells(row, len(columns)) for row in rows]))
        notes = [[*row.notes, *[""] * len(columns)][: len(columns)] for row in rows]
        suffix = f"_{number}" if number > 1 else ""
        names = [one_line(row.name) for row in rows]
        name_font = font(LABEL, *names)
        labels = [shortened(name, NAME, name_font) for name in names]
        yield (
            f"{name}{suffix}",
            sheet(cells.movedim(-1, 2), labels, columns, title, scale=1, notes=notes),
        )


def _cells(row: HandedRow, count: int) -> list[np.ndarray]:
    none = np.full((THUMB, THUMB, 3), GREY, np.uint8)
    return [none if thumb is None else thumb for thumb in [*row.thumbs, *[None] * count][:count]]
