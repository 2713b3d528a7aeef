"""A training under Ray Train: the same loop, on as many workers as wanted."""

import contextlib
import functools
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hw2.bucket.mirror import Address, Mirror
from hw2.bucket.out import joined
from hw2.config import ScalingConfig
from hw2.distributed.agreeing import agree, refuse_unlike
from hw2.distributed.asking import answering, asking, hears_no_more
from hw2.distributed.devices import given_gpu, own_device, with_threads
from hw2.distributed.failures import MAX_FAILURES, seeing_lost
from hw2.distributed.leaving import Leaving
from hw2.distributed.reach import joining
from hw2.distributed.room import growing, share_of_cluster
from hw2.distributed.session import clear_ray_storage, connected, ray_storage
from hw2.distributed.sight import refuse_other_disk
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
        from ray import train as ray_train
        from ray.train.torch import get_device

        logging.getLogger().setLevel(logging.WARNING)  # Ray tells of each report
        context = ray_train.get_context()
        rank, world_size = context.get_world_rank(), context.get_world_size()
        place = Place(rank, world_size, get_device(), Leaving())
        # An Hw2Error is returned: raised, Ray would try the same again. All return it or none, else
        # those that go on would wait for the others.
        with contextlib.ExitStack() as held:
            try:
                here, mirror, newest = _folder(address, out, run_file, place, held)
                error: Hw2Error | None = None
                meta = None
                try:
                    if mirror is not None and newest is not None:
                        mirror.pull_below(newest)
                    with given_gpu(place.device.type == "cuda"):
                        training = make(there, here, place.device)
                    meta = json.dumps(training.meta, sort_keys=True)
                    if place.rank == 0 and mirror is None:
                        held.enter_context(only_writer(out, patience))
                        refuse_other_disk(out / RUN_FILE, run_file)  # moved aside meanwhile
                except Hw2Error as mine:
                    error = mine
                refuse_unlike(agree(error, place.world_size, meta))

                if place.rank == 0 and mirror is not None:
                    held.enter_context(answering(mirror))

                def saved(step: int, error: Hw2Error | None = None) -> None:
                    # The checkpoints are our own, verified and shared with runs without Ray: Ray
                    # is told of the step alone. Every worker must report the same number of times.
                    agree(error, place.world_size)
                    ray_train.report({"step": step})

                with seeing_lost():
                    run(training, place, saved, mirror)
            except Hw2Error as alike:  # agreed on; the batch's size, the gradient's norm
                return alike
        return None

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


def _folder(
    address: Address | None, out: Path, run_file: str, place: Place, held: contextlib.ExitStack
) -> tuple[Path, Mirror | None, str | None]:
    """Where this worker finds OUT, a copy if that is in a bucket; and the checkpoint to copy."""
    error: Hw2Error | None = None
    newest, mirror = None, None
    try:
        if address is not None:
            mirror = held.enter_context(joined(address, writes=place.rank == 0))
            if place.rank == 0:
                newest = mirror.pull_checkpoint()
            else:
                mirror.pull()  # what the driver has made for the training
        else:
            refuse_other_disk(out / RUN_FILE, run_file)
    except Hw2Error as mine:
        error = mine
    newest = agree(error, place.world_size, newest)[0]  # else one could copy a later one
    return mirror.folder if mirror else out, mirror, newest


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
