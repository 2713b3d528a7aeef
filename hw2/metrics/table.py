"""Tables of figures for a terminal."""

import sys
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
    where stdout has no other signs.
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
    return table.get_string()


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
