"""Tables of figures for a terminal."""

import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from prettytable import PrettyTable, TableStyle

from hw2.disclosure import one_line
from hw2.metrics.intervals import Interval

VERDICTS = {True: "pass", False: "FAIL"}  # in tables of grades


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """An aligned plain-text table of `columns` of `rows`, or of all; a missing cell is left empty.

    A column "value" of rows that also hold "low" and "high" shows all three; other floats show
    four significant digits. Text stands left, numbers and intervals right. The border is of ASCII
    where stdout has no other signs. On a terminal that is too narrow, cells go over several lines,
    down to a word in each.
    """
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    table = PrettyTable(list(columns))
    table.set_style(TableStyle.SINGLE_BORDER if _has_boxes() else TableStyle.DEFAULT)
    table.add_rows([[_cell(row, column) for column in columns] for row in rows])
    for column in columns:
        texts = [str(row[column]) for row in rows if column in row]
        numeric = all(text[:1].isdigit() or text[:1] == "-" or text in _WORDS for text in texts)
        table.align[column] = "r" if numeric and texts else "l"
    if sys.stdout.isatty():
        table.break_on_hyphens = False  # svhn-style is a word
        table.max_width = _widths(table, shutil.get_terminal_size().columns)
    return table.get_string()


def _widths(table: PrettyTable, room: int) -> dict[str, int]:
    """How wide columns may be for the table to fit in `room`, as far as no word is broken for it.

    Empty where it fits as it is. A head stays on one line: it would be cut.
    """
    too_wide = len(table.get_string().partition("\n")[0]) - room
    texts = {name: [row[i] for row in table.rows] for i, name in enumerate(table.field_names)}
    widths = {name: max(map(_places, [name, *of])) for name, of in texts.items()}
    least = {name: max(map(_places, [name, *" ".join(of).split()])) for name, of in texts.items()}
    for _ in range(too_wide):
        if not (wide := [name for name in widths if widths[name] > least[name]]):
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths if too_wide > 0 else {}


def _places(text: str) -> int:
    """How many places of a terminal a text takes: a Chinese sign takes two."""
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide


_WORDS = ("n/a", "nan", "all")  # what stands in a column of numbers where there is none


def _has_boxes() -> bool:
    try:
        "\u250c".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column, "")
    if column == "value" and {"low", "high"} <= row.keys():
        value = Interval(row["value"], row["low"], row["high"])
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))
