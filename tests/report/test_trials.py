"""The trials that a page shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw2.errors import DataError
from hw2.report.outputs import JobOutput
from hw2.report.trials import Trial, read_trials


def sweep(*points: dict[str, Any], samples: tuple[int, ...] = (2, 2, 2, 2)) -> JobOutput:
    scores = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    trials = [
        {"point": point, "samples": of, "scores": scores}
        for point, of in zip(points, samples, strict=False)
    ]
    return JobOutput("sweep", "", Path("out"), {}, {"trials": trials}, "run", "")


def test_trials_come_in_the_order_of_their_value() -> None:
    found, said = read_trials(sweep({"eta": 1}, {"steps": 3}, {"eta": 0.25}), "eta")
    assert said == []
    assert [trial.at for trial in found] == [0.25, 1]
    assert found[0].scores["accuracy"].low == 0.4


def test_a_sweep_over_more_than_the_setting_is_refused() -> None:
    both = sweep(*({"eta": eta, "steps": steps} for eta in (0, 1) for steps in (10, 20)))
    with pytest.raises(DataError, match=r"^out: several trials have eta 0: .* alone$"):
        read_trials(both, "eta")


def test_one_trial_is_not_enough() -> None:
    with pytest.raises(DataError, match=r"^out: 1 trials over eta have scores: need two or more$"):
        read_trials(sweep({"eta": 1}), "eta")


def test_trials_that_were_stopped_with_fewer_noises_are_left_out_and_told() -> None:
    points = [{"eta": eta} for eta in (0, 0.5, 1)]
    found, (said,) = read_trials(sweep(*points, samples=(8, 2, 8)), "eta")
    assert [trial.at for trial in found] == [0, 1]
    assert said.values == {"most": "8", "settings": ("0.5 (2)",)}
    refused = "1 trials over eta have scores, 2 with fewer noises: need two or more"
    with pytest.raises(DataError, match=refused):
        read_trials(sweep(*points, samples=(8, 2, 2)), "eta")


def test_pictures_behind_a_chunk_that_is_gone_are_not_taken_for_the_first(tmp_path: Path) -> None:
    trial = Trial(0.0, 10, {}, tmp_path, {})
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((3, 2, 2), np.uint8)
    for first in (0, 5):
        np.savez_compressed(tmp_path / f"chunk_{first:06d}.npz", images=images[first : first + 5])
    assert trial.images(7)[:, 0, 0, 0].tolist() == [*range(7)]
    (tmp_path / "chunk_000000.npz").unlink()
    with pytest.raises(DataError, match="has no pictures that can be read: delete it"):
        trial.images(7)
