"""A training that is stopped leaves Ctrl-C and the cluster as they were."""

import asyncio
import signal
from typing import Any

import pytest
import ray
from ray._private.state import state
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
    get_or_create_autoscaling_coordinator,
)
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from hw2.distributed.torch_trainer import Trainer
from tests.waiting import wait_for


class Controller:
    """Begins to end, and never does, as one that waits for workers."""

    def __init__(self) -> None:
        self.aborted = False

    async def abort(self) -> None:
        """As Ray's."""
        self.aborted = True
        await asyncio.sleep(600)

    async def is_aborted(self) -> bool:
        """Whether it was told."""
        return self.aborted


@pytest.fixture
def trainer() -> Trainer:
    return Trainer(print, scaling_config=ScalingConfig(num_workers=1))


def test_ctrl_c_is_left_to_the_job(trainer: Trainer) -> None:
    before = signal.getsignal(signal.SIGINT)
    trainer._register_sigint_handler(None)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("address", "cleaned"), [("", False), ("1.2.3.4:6379", True)])
def test_no_process_starts_for_nothing(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, address: str, cleaned: bool
) -> None:
    """Of Ray's own callbacks for a training those are left out that have nothing to do."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    kinds = {type(one).__name__ for one in trainer._create_default_callbacks()}
    theirs = {type(one).__name__ for one in TorchTrainer._create_default_callbacks(trainer)}
    cleaner = {"PlacementGroupCleanerCallback"}
    assert theirs - kinds == {"DatasetsCallback"} | (set() if cleaned else cleaner)
    assert kinds <= theirs


def test_what_a_cluster_keeps_free_is_given_back_by_a_stop(
    ray_session: None, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ray's own actor for that."""
    coordinator, controller = get_or_create_autoscaling_coordinator(), ray.remote(Controller)
    running = controller.options(num_cpus=0).remote()
    mine = f"train-{trainer.train_run_context.run_id}"
    for requester in (mine, "train-another"):
        asked = {"requester_id": requester, "resources": [{"CPU": 1}], "expire_after_s": 600}
        ray.get(coordinator.request_resources.remote(**asked))

    def kept(requester: str) -> Any:
        return ray.get(coordinator.get_reserved_resources.remote(requester))

    def stopped(self: Trainer) -> None:
        self._register_sigint_handler(running)
        assert kept(mine)
        raise KeyboardInterrupt

    monkeypatch.setattr(TorchTrainer, "fit", stopped)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert not kept(mine) and kept("train-another")
    wait_for(lambda: ray.get(running.is_aborted.remote()))
    for actor in (coordinator, running):
        ray.kill(actor)


def test_the_room_of_jobs_that_are_dead_is_given_back(
    ray_session: None, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of those at work is not, nor what others than trainings of ours ask for."""
    coordinator = get_or_create_autoscaling_coordinator()
    own = ray.get_runtime_context().get_job_id()
    dead = {"JobID": "77000000", "IsDead": True}
    monkeypatch.setattr(state, "job_table", lambda: [{"JobID": own, "IsDead": False}, dead])
    asked = [f"train-a-{own}", "train-a-77000000", "train-77", "data-77000000", "train-a-78000000"]
    for requester in asked:
        wants = {"resources": [{"CPU": 1}], "expire_after_s": 600}
        ray.get(coordinator.request_resources.remote(requester_id=requester, **wants))
    trainer.succeed()
    assert trainer.train_run_context.run_id.endswith(f"-{own}")
    asks = coordinator.__ray_call__.remote(lambda actor: list(actor._ongoing_reqs))
    assert ray.get(asks) == [one for one in asked if one != "train-a-77000000"]
    ray.kill(coordinator)
    trainer.succeed()  # where nobody has asked


def test_a_stop_is_one_although_no_ray_answers(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Trainer) -> None:
        self._register_sigint_handler(object())
        raise KeyboardInterrupt

    monkeypatch.setattr(TorchTrainer, "fit", stopped)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
