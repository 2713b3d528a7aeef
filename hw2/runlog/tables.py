"""Tables of a run: for spreadsheets as CSV, and as the JSON that MLflow shows as a table."""

import csv
import io
from pathlib import Path
from typing import Any

from hw2.data.files import finite, replacing, write_json
from hw2.disclosure import as_text

Rows = list[dict[str, Any]]


def write_table(folder: Path, name: str, rows: Rows) -> list[Path]:
    """Write NAME.csv and NAME.json into `folder`; their paths.

    The columns are those of all rows, as they come. Without rows the table is empty, with the
    columns that it had, where there was one before, and else there is none.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    csv_file, json_file = (folder / f"{name}.{kind}" for kind in ("csv", "json"))
    if not rows:
        if not csv_file.exists():
            return []
        with csv_file.open(newline="", encoding="utf-8-sig") as file:
            columns = next(csv.reader(file), [])
    folder.mkdir(exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)  # of RFC 4180: a lone return is quoted too
    writer.writeheader()
    writer.writerows({k: as_text(v) for k, v in row.items()} for row in rows)
    # A spreadsheet takes other letters for its system's, unless a mark says that they are not.
    encoding = "utf-8" if text.getvalue().isascii() else "utf-8-sig"
    with replacing(csv_file) as passing:
        passing.write_text(text.getvalue(), encoding=encoding, newline="")
    data = [[row.get(column) for column in columns] for row in rows]
    write_json(json_file, {"columns": columns, "data": finite(data)})
    return [csv_file, json_file]
