"""The merge at the shapes of Stable Diffusion 1.4: how close, and what it may cost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.command import ROOT


@pytest.mark.slow
def test_ten_concepts_are_merged_within_half_a_minute_and_four_gib(tmp_path: Path) -> None:
    """In a process of its own, whose peak is that of the merge."""
    path = tmp_path / "merge.json"
    words = ["--concepts", "10", "--rounds", "1", "--json", path]
    subprocess.run([sys.executable, ROOT / "benchmarks/merge_shapes.py", *words], check=True)
    found = json.loads(path.read_text())["rows"]
    rows = {row["figure"]: row["value"] for row in found}
    assert (rows["concepts"], rows["matrices"], rows["features kept"]) == (10, 32, 200 * 12)
    assert rows["core-seconds"] < 30
    assert rows["peak, GiB, with the weights"] < 4
    assert rows["worst residual (float32 weights)"] < 1e-6
