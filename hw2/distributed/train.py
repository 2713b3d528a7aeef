"""A training under Ray Train: the same loop, on as many workers as wanted."""

import contextlib
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hw2.config import ScalingConfig
from hw2.distributed.asking import asking, hears_no_more
from hw2.distributed.devices import own_device, with_threads
from hw2.distributed.failures import MAX_FAILURES
from hw2.distributed.reach import joining
from hw2.distributed.room import growing, share_of_cluster
from hw2.distributed.session import clear_ray_storage, connected, ray_storage
from hw2.distributed.train_worker import work
from hw2.errors import Hw2Error
from hw2.gradients import Place
from hw2.locate import FINAL
from hw2.lock import LOCK_SECONDS, NODE_SECONDS, only_writer
from hw2.progress import following
from hw2.runlog.journal import JOURNAL
from hw2.runlog.run_file import RUN_FILE
from hw2.runlog.tracker import Tracker
from hw2.running import run
from hw2.settings.training import LoopJobConfig
from hw2.stopping import saving_first
from hw2.training import Training

if TYPE_CHECKING:
    import torch

A_DAY = "86400"  # seconds
RESIZE_SECONDS = 20.0  # between looks at which nodes there are: each change repeats some steps
# A CPU worker computes with one thread, and is worth starting for so many pictures a step (two
# of 12 pictures take 0.8 of the time that one of 24 takes).
PICTURES_PER_WORKER = 12
# A GPU is kept waiting by the launches of a small network: with fewer pictures each, more are no
# faster than one (docs/performance.md).
PICTURES_PER_GPU = 512

C = TypeVar("C", bound=LoopJobConfig)


def run_training(
    make: Callable[[C, Path], Training],
    config: C,
    name: str,
    tracker: Tracker,
) -> None:
    """`run_training_on` of what is made alike wherever it trains."""
    run_training_on(lambda config, out, device: make(config, out), config, name, tracker)


def run_training_on(
    make: "Callable[[C, Path, torch.device], Training]",
    config: C,
    name: str,
    tracker: Tracker,
) -> None:
    """Run `make(config, out, device)` to its last step, on a Ray Train group or here; log FINAL.

    Here is where num_workers is 0. The device is the one to train on, for what `make` computes.
    `make` is called in each worker and must be picklable. A worker that dies is replaced and the
    group goes on from the newest good checkpoint, as the same command does after the driver died.
    Raises a worker's own Hw2Error, and Ray's error for anything else.
    """
    make = with_threads(make, config.scaling)
    patience = NODE_SECONDS if joining() else LOCK_SECONDS
    out, journal = tracker.out, tracker.out / JOURNAL
    address = tracker.mirror.address if tracker.mirror else None
    run_file = (out / RUN_FILE).read_text()
    # Ray Train moves each worker to a folder of its own.
    there = config.absolute()

    def worker() -> Hw2Error | None:
        return work(make, there, out, address, run_file, patience)

    with saving_first(out), following(journal, config.train.num_steps, name):
        if config.scaling.num_workers == 0:
            with only_writer(out):
                if mirror := tracker.mirror:
                    mirror.pull_checkpoint()
                device = own_device(config.scaling)
                run(make(there, out, device), Place(device=device), mirror=mirror)
                error = None
        else:
            lent = tracker.mirror.lent() if tracker.mirror else contextlib.nullcontext()
            with connected(config.scaling), lent, asking(tracker.mirror):
                trainer = _trainer(worker, config, tracker, name)
                error = trainer.fit().return_value
                clear_ray_storage(out, tracker.mirror)
    if error is not None:
        raise error
    tracker.log_file(out / FINAL)


def _workers(scaling: ScalingConfig, batch_size: int) -> tuple[int | tuple[int, int], bool]:
    """How many workers train, or the fewest and the most of them, and whether each has a GPU."""
    _, use_gpu = share_of_cluster(scaling, 1)
    at_most = batch_size // (PICTURES_PER_GPU if use_gpu else PICTURES_PER_WORKER)
    num_workers, _ = share_of_cluster(scaling, at_most)
    if (least := scaling.min_workers) is None:
        return num_workers, use_gpu
    # Ray asks a cluster that grows for the larger number: not for what nobody told.
    untold = max(least, num_workers if growing() else at_most)
    return (least, scaling.num_workers or untold), use_gpu


def _trainer(
    worker: Callable[[], object],
    config: LoopJobConfig,
    tracker: Tracker,
    name: str,
) -> Any:
    from ray.train import FailureConfig, LoggingConfig, RunConfig
    from ray.train import ScalingConfig as RayScaling

    from hw2.distributed.torch_group import OwnNetworkConfig
    from hw2.distributed.torch_trainer import Tell, Trainer

    workers, use_gpu = _workers(config.scaling, config.train.batch_size)
    # A node that is gone still counts for some seconds: do not wait a minute for its workers. Where
    # no fewer will do there is nothing to try but the same, and Ray says so in two tracebacks.
    patience = A_DAY if config.scaling.min_workers is None else "20"
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", patience)
    per_worker: dict[str, float] = {"CPU": config.scaling.cpus_per_worker or 1}
    if use_gpu:
        per_worker["GPU"] = 1
    in_bucket = tracker.mirror.address.run if tracker.mirror else None
    trainer = Trainer(
        worker,
        torch_config=OwnNetworkConfig(
            backend="nccl" if use_gpu else "gloo",
            ending=functools.partial(hears_no_more, tracker.out, in_bucket),
        ),
        scaling_config=RayScaling(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker=per_worker,
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        ),
        run_config=RunConfig(
            # A name of its own each time: what to resume is ours to know, not Ray's.
            name=f"{name}-{time.time_ns()}",
            **ray_storage(tracker.out, tracker.mirror),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[Tell()],
            # DDP warns in C++ that it found no unused weights.
            worker_runtime_env={"env_vars": {"TORCH_CPP_LOG_LEVEL": "ERROR"}},
            # On a cluster the workers may have to wait, which Ray tells at this level.
            logging_config=LoggingConfig(log_level="INFO" if joining() else "WARNING"),
        ),
    )
    if joining():
        trainer.succeed()
    return trainer
