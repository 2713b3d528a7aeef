"""Ray's trainer, of which a job is stopped by its own means."""

import contextlib
from typing import Any

import ray
from ray.train import UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from hw2.distributed.failures import Failures, say_less
from hw2.distributed.reach import joining

COORDINATOR = "AutoscalingCoordinator"  # Ray's actor that keeps room free; its namespace too
ANSWER_SECONDS = 2.0


class Tell(UserCallback):  # type: ignore[misc]
    """Says, in the process of Ray's controller, what Ray logs below WARNING or at length."""

    def __init__(self) -> None:
        self.failures = Failures()

    def __setstate__(self, state: dict[str, Any]) -> None:  # there
        self.__dict__.update(state)
        say_less()

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray before it decides what follows."""
        self.failures.tell(worker_exceptions)


class Trainer(TorchTrainer):
    """Leaves Ctrl-C to the job: Ray's handler ends it without a word, and stays after `fit`.

    That handler also gives back what a cluster keeps free for the training. It would for three
    minutes more, in which no elastic training begins there, the same one neither.
    """

    controller: Any = None

    def _create_default_callbacks(self) -> list[Any]:
        """Without those that would start a process for nothing.

        Pictures come from no data set of Ray's; and a local Ray, which ends with its driver, leaves
        nothing for Ray's cleaner to clean.
        """
        cleaner = () if joining() else (PlacementGroupCleanerCallback,)
        default = super()._create_default_callbacks()
        return [one for one in default if not isinstance(one, (DatasetsCallback, *cleaner))]

    def _register_sigint_handler(self, controller: Any) -> None:
        self.controller = controller

    def succeed(self) -> None:
        """Take the room that the cluster keeps for trainings whose jobs were killed, whoever's.

        Each elastic one would wait until Ray forgets them. By the name that this one gets here,
        which ends in its job's, it can be told of it too.
        """
        own = f"{self.train_run_context.run_id}-{ray.get_runtime_context().get_job_id()}"
        object.__setattr__(self.train_run_context, "run_id", own)  # a frozen dataclass
        give_back_room_of_killed()

    def fit(self) -> Any:
        try:
            return super().fit()
        except BaseException:
            if joining() and self.controller is not None:
                give_back_room(self.controller, f"train-{self.train_run_context.run_id}")
            raise


def give_back_room(controller: Any, requester: str) -> None:
    """End the training of Ray Train's `controller`, and what is kept free for `requester`."""
    with contextlib.suppress(Exception):  # of a head that is gone; and nothing may be kept
        controller.abort.remote()  # else it asks anew; it is not waited for, which takes a second
        kept = ray.get_actor(COORDINATOR, namespace=COORDINATOR)
        ray.get(kept.cancel_request.remote(requester), timeout=ANSWER_SECONDS)


def give_back_room_of_killed() -> None:
    """End what is kept free for trainings of ours whose jobs Ray knows to be dead."""
    with contextlib.suppress(Exception):  # nobody has asked for room; a gone head is told of later
        kept = ray.get_actor(COORDINATOR, namespace=COORDINATOR)
        asking = kept.__ray_call__.remote(lambda actor: list(actor._ongoing_reqs))
        dead = {job["JobID"] for job in ray._private.state.state.job_table() if job["IsDead"]}
        for requester in ray.get(asking, timeout=ANSWER_SECONDS):
            if requester.startswith("train-") and requester.rpartition("-")[2] in dead:
                kept.cancel_request.remote(requester)
