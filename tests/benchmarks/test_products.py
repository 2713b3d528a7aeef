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
    sizes = ["--pairs", 1, "--steps", 4, "--workers", 0, 1]
    *sides, ratio = run("ray_train_overhead", *sizes, "--data", digits_tree)
    assert {row["side"] for row in sides} == {"bare loop", "Ray Train, 1"}
    by_figure = {(row["side"], row["figure"]): row["value"] for row in sides}
    for side in ("bare loop", "Ray Train, 1"):
        assert by_figure[side, "steps/s"] > 0
        assert 0 <= by_figure[side, "data wait, share"] < 1
        assert by_figure[side, "start, s"] > 0
    assert ratio["side"] == "Ray Train, 1 / bare loop"
    assert ratio["value"] > 0
