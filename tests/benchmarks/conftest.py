"""Benchmarks as `make bench` runs them, at tiny sizes: what a result holds, never how fast."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))  # as `python benchmarks/NAME.py` has it

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a benchmark in this process; its rows, once those are found whole in its JSON."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def act(name: str, *words: object) -> list[dict[str, Any]]:
        path = tmp_path / "bench" / f"{name}.json"
        importlib.import_module(name).main([*map(str, words), "--json", str(path)])
        result = json.loads(path.read_text())
        assert set(result) == {"machine", "settings", "rows"}
        assert result["machine"]["processor"]
        assert result["machine"]["cores"] >= 1
        assert str(tmp_path) not in json.dumps(result["machine"])
        return result["rows"]

    return act
