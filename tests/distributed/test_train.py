"""What the workers of a training agree on before they begin, and how many there are."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hw2.config import ScalingConfig
from hw2.distributed import session
from hw2.distributed.failures import MAX_FAILURES
from hw2.distributed.train import _refuse_unlike, _trainer, _workers
from hw2.errors import ConfigError
from hw2.runlog.tracker import Tracker
from hw2.settings.digits import TrainDdpmConfig


def test_workers_that_read_other_files_are_refused() -> None:
    same = json.dumps({"kind": "judge", "data_hash": "aa"})
    other = json.dumps({"kind": "judge", "data_hash": "bb"})
    _refuse_unlike([same, same])
    with pytest.raises(ConfigError, match="data_hash=bb on worker 2, aa on worker 0: the nodes"):
        _refuse_unlike([same, same, other])


@pytest.mark.parametrize(
    ("nodes", "told", "workers"),
    [
        ([(8, 0)], {}, 8),
        ([(4, 1)] * 4, {}, 1),  # a small network keeps one waiting
        ([(4, 1)] * 4, {"num_workers": 4}, 4),
        ([(4, 0)] * 2, {"min_workers": 1}, (1, 21)),
    ],
)
@pytest.mark.parametrize("grows", [False, True])
def test_how_many_workers_a_training_has(
    nodes: list[tuple[float, float]],
    told: dict[str, int],
    workers: Any,
    grows: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_nodes", lambda: nodes)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setenv("HW2_CLUSTER_GROWS", "1" if grows else "0")
    if grows and told == {"min_workers": 1}:
        workers = (1, 8)  # those that are there: for what nobody told none is brought
    assert _workers(ScalingConfig(**told), 256) == (workers, nodes[0][1] > 0)


@pytest.mark.parametrize(
    ("gpus", "each", "backend"), [(0, {"CPU": 2}, "gloo"), (4, {"CPU": 2, "GPU": 1}, "nccl")]
)
def test_the_settings_reach_ray(
    gpus: int,
    each: dict[str, float],
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_nodes", lambda: [(8, gpus)])
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.delenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")
    settings = {
        "data": {"root": tmp_path},
        "train": {"num_steps": 1},
        "scaling": {"cpus_per_worker": 2, "min_workers": 1, "num_workers": 3},
        "out": tmp_path,
    }
    config = TrainDdpmConfig.model_validate(settings)
    trainer = _trainer(print, config, Tracker(tmp_path, "0123", None, owner=True), "job")
    assert trainer.scaling_config.num_workers == (1, 3)
    assert trainer.scaling_config.resources_per_worker == each
    assert trainer.backend_config.backend == backend
    assert trainer.run_config.failure_config.max_failures == MAX_FAILURES
    assert os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "20"
