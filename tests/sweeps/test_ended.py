"""A sweep that has ended is told from what lies there; one that has not goes on."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hw2.distributed import sweep as sweeping
from hw2.distributed.sweep import run_sweep
from hw2.sweeps.ended import ENDED, ended_trials, keep_end
from hw2.sweeps.space import Point
from hw2.sweeps.trial import TrialResult, fail_trial, read_trial, run_trial, trial_folder
from tests.sweeps.toy import ToyWork, lines, make_toy, toy_config

ASHA = {"method": "asha", "grace": 5, "reduction_factor": 2}
UNDER_TUNE: dict[str, Any] = {"scheduler": ASHA, "samples": 20, "scaling": {"num_workers": 1}}
REACHED = {0: [5], 1: [5, 10], 2: [5, 10, 20]}  # x: what ASHA let it have


@pytest.fixture
def ended(tmp_path: Path) -> list[TrialResult]:
    """The trials of a sweep that has ended in tmp_path."""
    for x, rungs in REACHED.items():
        list(run_trial(ToyWork(tmp_path), tmp_path, {"x": x}, rungs))
    trials = [read_trial(tmp_path, {"x": x}) for x in REACHED]
    keep_end(toy_config(tmp_path, **UNDER_TUNE), tmp_path, trials)
    return trials


def test_the_same_sweep_computes_nothing_and_finds_the_same(
    tmp_path: Path, ended: list[TrialResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sweeping, "connected_for")  # Ray is not needed
    before = lines(tmp_path / "drawn")
    told: list[TrialResult] = []
    points: list[Point] = [{"x": x} for x in REACHED]
    config = toy_config(tmp_path, **UNDER_TUNE, rule="cheapest_within_interval", baseline={"x": 0})
    found = run_sweep(make_toy(tmp_path), points, config, tmp_path, told.append)
    assert [(t.point, t.reports) for t in found] == [(t.point, t.reports) for t in ended]
    assert told == found
    assert lines(tmp_path / "drawn") == before
    assert not (tmp_path / "made").exists()


def test_the_end_of_a_sweep_under_tune_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def under_tune(make: Any, points: Any, config: Any, out: Path, *rest: Any) -> list[TrialResult]:
        return [read_trial(out, {"x": x}) for x in REACHED]

    for x, rungs in REACHED.items():
        list(run_trial(ToyWork(tmp_path), tmp_path, {"x": x}, rungs))
    monkeypatch.setattr(sweeping, "connected_for", nullcontext)
    monkeypatch.setattr(sweeping, "run_under_tune", under_tune)
    config = toy_config(tmp_path, **UNDER_TUNE)
    found = run_sweep(make_toy(tmp_path), [], config, tmp_path, lambda trial: None)
    kept = ended_trials(config, tmp_path)
    assert kept is not None and [t.point for t in kept] == [t.point for t in found]


@pytest.mark.parametrize(
    "other",
    [
        {"samples": 30},
        {"mode": "min"},
        {"metric": "network_calls"},
        {"scheduler": {**ASHA, "grace": 10}},
        {"space": {"x": {"grid": [0, 1, 2, 3]}}},
        {"search": {"method": "random", "num_trials": 3}},
    ],
)
def test_another_sweep_in_the_same_folder_has_not_ended(
    tmp_path: Path, ended: list[TrialResult], other: dict[str, Any]
) -> None:
    assert ended_trials(toy_config(tmp_path, **UNDER_TUNE | other), tmp_path) is None


@pytest.mark.parametrize("harm", ["gone", "further", "failed", "torn", "list", "no trials"])
def test_what_is_not_as_it_ended_goes_on(
    tmp_path: Path, ended: list[TrialResult], harm: str
) -> None:
    config, record = toy_config(tmp_path, **UNDER_TUNE), tmp_path / ENDED
    assert ended_trials(config, tmp_path) is not None
    if harm == "gone":
        (trial_folder(tmp_path, {"x": 1}) / "result.json").unlink()
    elif harm == "further":
        list(run_trial(ToyWork(tmp_path), tmp_path, {"x": 1}, [5, 10, 20]))
    elif harm == "failed":
        fail_trial(tmp_path, {"x": 1}, "it died")
    elif harm == "torn":
        record.write_text(record.read_text()[:50])
    else:
        trials = {"list": ["x"], "no trials": None}[harm]
        record.write_text(json.dumps(json.loads(record.read_text()) | {"trials": trials}))
    assert ended_trials(config, tmp_path) is None


def test_a_sweep_with_a_failed_trial_has_not_ended(tmp_path: Path) -> None:
    fail_trial(tmp_path, {"x": 1}, "it died")
    config = toy_config(tmp_path, **UNDER_TUNE)
    keep_end(config, tmp_path, [read_trial(tmp_path, {"x": 1})])
    assert ended_trials(config, tmp_path) is None
    assert not (tmp_path / ENDED).exists()
