"""Sheets of pictures that students handed in."""

import numpy as np
import pytest
import torch

from hw2.figures import handed_sheets as sheets
from hw2.figures.handed_sheets import GREY, ROWS, THUMB, HandedRow, thumbnail

BLUE = (10, 20, 200)


@pytest.mark.parametrize(
    ("size", "seen"),
    [((50, 100), (48, 96)), ((200, 100), (96, 48)), ((1, 1), (96, 96)), ((4000, 3), (96, 1))],
)
def test_a_thumbnail_keeps_the_proportions_in_the_middle(
    size: tuple[int, int], seen: tuple[int, int]
) -> None:
    (height, width), cell = seen, thumbnail(np.full((*size, 3), BLUE, np.uint8))
    assert cell.shape == (THUMB, THUMB, 3)
    top, left = (THUMB - height) // 2, (THUMB - width) // 2
    inside = np.zeros((THUMB, THUMB), bool)
    inside[top : top + height, left : left + width] = True
    assert (cell[inside] == BLUE).all() and (cell[~inside] == GREY).all()


@pytest.mark.parametrize(
    ("count", "names", "last"),
    [(1, ["best"], 2), (ROWS, ["best"], ROWS + 1), (ROWS + 1, ["best", "best_2"], 2)],
)
def test_each_sheet_has_the_given_row_and_at_most_so_many(
    count: int, names: list[str], last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[torch.Tensor, list[str], list[list[str]]]] = []
    monkeypatch.setattr(
        sheets,
        "sheet",
        lambda cells, labels, columns, title, scale, notes: drawn.append((cells, labels, notes)),
    )
    blue = np.full((THUMB, THUMB, 3), BLUE, np.uint8)
    blue[0] = 7  # its upper edge
    rows = [HandedRow(f"s{n}", [blue], ["note"]) for n in range(count)]
    given = HandedRow("given", [blue, None, blue], [])
    found = sheets.handed_sheets("best", given, rows, ["1", "2"], "title")
    assert [name for name, _ in found] == names
    assert {labels[0] for _, labels, _ in drawn} == {"given"}
    assert [label for _, labels, _ in drawn for label in labels[1:]] == [r.name for r in rows]
    cells, _, notes = drawn[-1]
    assert cells.shape == (last, 2, 3, THUMB, THUMB)
    assert (cells[:, 0] == torch.from_numpy(blue).movedim(-1, 0)).all() and (
        cells[:, 1] == GREY
    ).all()
    assert notes == [["", ""], *[["note", ""]] * (last - 1)]


def test_a_long_name_leaves_the_pictures_their_room() -> None:
    blue = np.full((THUMB, THUMB, 3), BLUE, np.uint8)

    def width(name: str) -> int:
        row = HandedRow(name, [blue], [""])
        ((_, picture),) = sheets.handed_sheets("best", row, [row], ["1"], "")
        return picture.width

    assert width("ann") < width("m" * 20) <= width("m" * 200) < THUMB + 300 + 100
    assert width("王" * 200) < THUMB + 300 + 100
