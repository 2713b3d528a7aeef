"""What the workers of a training agree on before they begin, and how many there are."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch

from hw2.config import ScalingConfig
from hw2.distributed import devices, room, train
from hw2.distributed.agreeing import refuse_unlike
from hw2.distributed.failures import MAX_FAILURES
from hw2.distributed.train import A_DAY, RESIZE_SECONDS, _trainer, _workers, run_training
from hw2.distributed.train_worker import _folder
from hw2.errors import ConfigError
from hw2.gradients import Place
from hw2.runlog.run_file import RUN_FILE
from hw2.runlog.tracker import Tracker
from hw2.settings.digits import TrainDdpmConfig, TrainJudgeConfig


def test_workers_that_read_other_files_are_refused() -> None:
    same = json.dumps({"kind": "judge", "data_hash": "aa"})
    other = json.dumps({"kind": "judge", "data_hash": "bb"})
    refuse_unlike([same, same])
    with pytest.raises(ConfigError, match="data_hash=bb on worker 2, aa on worker 0: the nodes"):
        refuse_unlike([same, same, other])
    more = json.dumps({"kind": "judge", "data_hash": "aa", "size": 8})
    for metas, told in (([same, more], "size=8 on worker 1, None"), ([more, same], "size=None on")):
        with pytest.raises(ConfigError, match=told):
            refuse_unlike(metas)


def test_a_worker_finds_out_where_the_driver_has_it(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("mine")
    with ExitStack() as held:
        assert _folder(None, tmp_path, "mine", Place(), held) == (tmp_path, None, None)
        with pytest.raises(ConfigError, match="is not on all nodes"):
            _folder(None, tmp_path, "another's", Place(), held)


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("the driver is too old", r"^node .*: the driver is too old: mend that, or give"),
        (None, "^the GPU has too little memory for this: free it of other programs"),
    ],
)
def test_a_worker_whose_gpu_is_of_no_use_says_so_in_a_line(
    why: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trainer(worker: Callable[[], object], *told: object) -> SimpleNamespace:
        return SimpleNamespace(fit=lambda: SimpleNamespace(return_value=worker()))

    def make(config: object, out: Path) -> NoReturn:
        raise AssertionError if why else torch.OutOfMemoryError("CUDA out of memory")

    one = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr("ray.train.get_context", lambda: one)
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(train, "_trainer", trainer)
    monkeypatch.setattr(train, "connected", lambda scaling: nullcontext())
    monkeypatch.setattr(devices, "gpu_refusal", lambda: why)
    (tmp_path / RUN_FILE).write_text("mine")
    tracker = Tracker(tmp_path, "0123", None, owner=True)
    settings = {"train": {"num_steps": 1, "batch_size": 8}, "scaling": {"num_workers": 1}}
    config = TrainJudgeConfig.model_validate({"out": tmp_path, **settings})
    with pytest.raises(ConfigError, match=told):
        run_training(make, config, "judge", tracker)


@pytest.mark.parametrize(
    ("nodes", "told", "workers"),
    [
        ([(8, 0)], {}, 8),
        ([(4, 1)] * 4, {}, 1),  # a small network keeps one waiting
        ([(4, 1)] * 4, {"num_workers": 4}, 4),
        ([(4, 0)] * 2, {"min_workers": 1}, (1, 21)),
        ([(32, 0)], {"min_workers": 30}, (30, 30)),  # more than the batch would take
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
    monkeypatch.setattr(room, "_nodes", lambda: nodes)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setenv("HW2_CLUSTER_GROWS", "1" if grows else "0")
    if grows and told == {"min_workers": 1}:
        workers = (1, 8)  # those that are there: for what nobody told none is brought
    assert _workers(ScalingConfig(**told), 256) == (workers, nodes[0][1] > 0)


def trainer_of(out: Path, **scaling: Any) -> Any:
    """Ray's trainer of a training in `out`."""
    settings = {
        "data": {"root": out},
        "train": {"num_steps": 1},
        "scaling": {"cpus_per_worker": 2, **scaling},
        "out": out,
    }
    config = TrainDdpmConfig.model_validate(settings)
    return _trainer(print, config, Tracker(out, "0123", None, owner=True), "job")


@pytest.mark.usefixtures("ray_session")  # whose room for the dead is asked for
@pytest.mark.parametrize(
    ("gpus", "each", "backend"), [(0, {"CPU": 2}, "gloo"), (4, {"CPU": 2, "GPU": 1}, "nccl")]
)
def test_the_settings_reach_ray(
    gpus: int,
    each: dict[str, float],
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(room, "_nodes", lambda: [(8, gpus)])
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.delenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")
    trainer = trainer_of(tmp_path, min_workers=1, num_workers=3)
    assert trainer.scaling_config.num_workers == (1, 3)
    assert trainer.scaling_config.resources_per_worker == each
    assert trainer.scaling_config.elastic_resize_monitor_interval_s == RESIZE_SECONDS
    assert trainer.backend_config.backend == backend
    run = trainer.run_config
    assert run.storage_path == str(tmp_path / "ray")
    assert run.failure_config.max_failures == MAX_FAILURES
    assert run.logging_config.log_level == "INFO"  # which tells what is waited for
    run.callbacks[0].after_exception(None, {3: ValueError()})
    assert capsys.readouterr().err.startswith("worker 3 failed: ValueError\n")
    assert os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "20"


def test_a_fixed_number_of_workers_is_waited_for_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_nodes", lambda: [(8, 0)])
    monkeypatch.delenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")
    first, second = (trainer_of(tmp_path, num_workers=2).run_config for _ in range(2))
    assert os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == A_DAY
    assert first.name.startswith("job-") and first.name != second.name  # Ray would resume it
    assert first.logging_config.log_level == "WARNING"
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "7")
    trainer_of(tmp_path, min_workers=1)
    assert os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "7"  # as a user has told
