"""Tables as they stand in a terminal."""

import io

import pytest
from wcwidth import wcswidth

from hw2.metrics.intervals import wilson
from hw2.metrics.table import format_table


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in table.splitlines()
        if line.startswith("│")
    ]


def test_columns_are_chosen_ordered_and_aligned() -> None:
    rows = [{"name": "a", "n": 5, "x": 1.23456789}, {"name": "longer", "n": 1000}]
    table = format_table(rows, ["n", "name", "x"])
    assert cells(table) == [["n", "name", "x"], ["5", "a", "1.235"], ["1000", "longer", ""]]
    assert len({len(line) for line in table.splitlines()}) == 1
    assert "│    5 │ a      │" in table  # numbers right, words left
    mixed = format_table([{"prompts": "80 photos"}, {"prompts": "a"}])
    assert "│ a         │" in mixed  # one word makes it a column of words


def test_a_value_is_shown_with_its_limits() -> None:
    found = wilson(965, 1000)
    rows = [{"metric": "accuracy", **vars(found)}]
    assert cells(format_table(rows, ["metric", "value"]))[1] == ["accuracy", str(found)]
    assert cells(format_table([{"score": found}], ["score"]))[1] == [str(found)]
    assert cells(format_table([{"value": 0.5}]))[1] == ["0.5"]


@pytest.mark.parametrize(("encoding", "corner"), [("ascii", "+"), ("latin-1", "+"), ("utf-8", "┌")])
def test_a_terminal_without_boxes_gets_a_border_of_ascii(
    encoding: str, corner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    table = format_table([{"name": "a"}])
    assert table.startswith(corner) and table.isascii() == (corner == "+")


@pytest.mark.parametrize("room", [120, 65, 50])
@pytest.mark.parametrize(
    "score", ["judged accuracy of svhn-style pictures", "王小明的作業 第二組 很長很長的名字"]
)
def test_on_a_narrow_terminal_cells_go_over_lines_and_no_word_is_broken(
    score: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = f"{wilson(980, 1000):.1%}"
    rows = [{"score": score, "mnistm": share, "a long head": 1}]
    wide = format_table(rows)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(room))
    table = format_table(rows)
    assert (table == wide) == (room == 120)
    assert {wcswidth(line) for line in table.splitlines()} == {len(table.splitlines()[0])}
    assert len(table.splitlines()[0]) <= room
    head, *lines = cells(table)
    assert head == ["score", "mnistm", "a long head"]
    whole = [" ".join(parts).strip() for parts in zip(*lines, strict=True)]
    assert whole == [score, share, "1"]


def test_a_cell_is_one_line() -> None:
    assert len(cells(format_table([{"error": "it broke\nand more"}]))) == 2


def test_a_table_of_no_rows_is_its_head() -> None:
    assert cells(format_table([], ["a", "b"])) == [["a", "b"]]
