"""Tables as files: whole or not at all, read by spreadsheets and by MLflow."""

import json
import math
from pathlib import Path

import pytest

from hw2.runlog.tables import write_table


def test_a_table_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    class Torn:
        def __str__(self) -> str:
            raise OSError("No space left on device")

    files = write_table(tmp_path / "tables", "scores", [{"digit": 0}])
    with pytest.raises(OSError, match="No space"):
        write_table(tmp_path / "tables", "scores", [{"digit": 1}, {"digit": Torn()}])
    assert [path.name for path in files] == ["scores.csv", "scores.json"]
    assert sorted((tmp_path / "tables").iterdir()) == files
    assert files[0].read_text() == "digit\n0\n"


def test_a_table_of_other_letters_has_a_mark_for_spreadsheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "ascii")  # which nothing here may ask
    students, _ = write_table(tmp_path, "students", [{"name": "李小明"}])
    plain, _ = write_table(tmp_path, "plain", [{"name": "ann"}])
    assert students.read_bytes() == "\ufeffname\r\n李小明\r\n".encode()
    assert plain.read_bytes() == b"name\r\nann\r\n"
    write_table(tmp_path, "students", [])
    assert students.read_bytes() == b"name\r\n"


def test_a_table_is_json_for_others(tmp_path: Path) -> None:
    rows = [{"low": math.nan, "high": 2.0}, {"high": 1.0, "more": "x"}]
    _, path = write_table(tmp_path, "scores", rows)
    assert json.loads(path.read_text()) == {
        "columns": ["low", "high", "more"],
        "data": [[None, 2.0, None], [None, 1.0, "x"]],
    }
    assert "NaN" not in path.read_text()
