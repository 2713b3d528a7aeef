"""A sweep without workers: one trial after the other, in this process."""

from pathlib import Path

import pytest
import torch

from hw2.distributed import devices
from hw2.distributed.sweep import run_sweep
from hw2.sweeps.space import Point
from hw2.sweeps.trial import TrialResult
from tests.sweeps.toy import ToyWork, make_toy, toy_config


def test_it_computes_with_the_threads_of_a_worker(tmp_path: Path) -> None:
    seen: list[int] = []

    def make(on_gpu: bool) -> ToyWork:
        seen.append(torch.get_num_threads())
        return ToyWork(tmp_path)

    before = torch.get_num_threads()
    torch.set_num_threads(3)  # as the machine would have it
    try:
        run_sweep(make, [{"x": 1.0}], toy_config(tmp_path), tmp_path, lambda trial: None)
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


@pytest.mark.parametrize("use_gpu", [True, None])
def test_it_computes_on_a_gpu_only_if_told_so(
    use_gpu: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def make(on_gpu: bool) -> ToyWork:
        seen.append(on_gpu)
        return ToyWork(tmp_path)

    monkeypatch.setattr(devices, "gpu_refusal", lambda: None)
    config = toy_config(tmp_path, scaling={"num_workers": 0, "use_gpu": use_gpu})
    run_sweep(make, [{"x": 1.0}], config, tmp_path, lambda trial: None)
    assert seen == [bool(use_gpu)]


def test_whatever_goes_wrong_in_a_trial_the_sweep_goes_on(tmp_path: Path) -> None:
    told: list[TrialResult] = []
    points: list[Point] = [{"x": 1.0, "trouble": "raise"}, {"other": 2.0}, {"x": 3.0}]
    run_sweep(make_toy(tmp_path), points, toy_config(tmp_path), tmp_path, told.append)
    assert [trial.error.partition(":")[0] for trial in told] == ["ValueError", "KeyError", ""]
