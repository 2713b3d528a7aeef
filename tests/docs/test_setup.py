"""`make setup` where it cannot do: one line, before anything is downloaded."""

import subprocess
from pathlib import Path

from tests.docs.documents import ROOT


def test_another_python_is_refused_at_once(tmp_path: Path) -> None:
    words = [f"VENV={tmp_path}/new", "PYTHON=/bin/false"]
    ended = subprocess.run(["make", "demo", *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    told = "error: /bin/false is no Python 3.11 to 3.13 with venv: make PYTHON=/path/to/python3.11 "
    assert told in ended.stderr
    assert list(tmp_path.iterdir()) == []
