"""The benchmarks of whole commands."""

from pathlib import Path

import pytest

from tests.benchmarks.conftest import Run


def test_merge(run: Run) -> None:
    sizes = ["--concepts", 2, "--targets", 2, "--captions", 2, "--tokens", 3]
    rows = {row["figure"]: row["value"] for row in run("merge_shapes", *sizes)}
    assert rows["matrices"] == 32
    assert rows["targets independent"] == rows["targets"] == 4
    assert rows["worst residual (float32 weights)"] < 1e-3


@pytest.mark.slow
def test_ray_train(run: Run, digits_tree: Path) -> None:
    sizes = ["--pairs", 1, "--steps", 4, "--batch_size", 4, "--workers", 1]
    rows = run("ray_train_overhead", *sizes, "--data", digits_tree)
    assert {row["side"] for row in rows} == {"Ray Train, 1"}
    found = {row["figure"]: row["value"] for row in rows}
    assert found["steps/s"] > 0
    assert 0 <= found["data wait, share"] < 1
    assert found["start, s"] > 0
