"""What a worker of a training does; all end alike, else those that go on would wait for others."""

import contextlib
import functools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hw2.bucket.mirror import Address, Mirror
from hw2.bucket.out import joined
from hw2.distributed.agreeing import agree, refuse_unlike
from hw2.distributed.asking import answering
from hw2.distributed.devices import given_gpu
from hw2.distributed.failures import seeing_lost
from hw2.distributed.leaving import Leaving
from hw2.distributed.sight import refuse_other_disk
from hw2.errors import Hw2Error
from hw2.gradients import Place
from hw2.lock import only_writer
from hw2.runlog.run_file import RUN_FILE
from hw2.running import run
from hw2.training import Training

if TYPE_CHECKING:
    import torch

C = TypeVar("C")


def work(
    make: "Callable[[C, Path, torch.device], Training]",
    config: C,
    out: Path,
    address: Address | None,
    run_file: str,
    patience: float,
) -> Hw2Error | None:
    """Train what `make` makes, as one of the workers that Ray Train has started.

    `out` is the driver's OUT, in a bucket that at `address`; `run_file` is what stands in its
    RUN_FILE. Worker 0 waits `patience` seconds for one before it to let go of `out`.

    An Hw2Error is returned, on all workers or none: raised, Ray would try the same again.
    """
    from ray import train as ray_train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)  # Ray tells of each report
    context = ray_train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    place = Place(rank, world_size, get_device(), Leaving())
    with contextlib.ExitStack() as held:
        try:
            here, mirror, newest = _folder(address, out, run_file, place, held)
            error: Hw2Error | None = None
            meta = None
            try:
                if mirror is not None and newest is not None:
                    mirror.pull_below(newest)
                with given_gpu(place.device.type == "cuda"):
                    training = make(config, here, place.device)
                meta = json.dumps(training.meta, sort_keys=True)
                if place.rank == 0 and mirror is None:
                    held.enter_context(only_writer(out, patience))
                    refuse_other_disk(out / RUN_FILE, run_file)  # moved aside meanwhile
            except Hw2Error as mine:
                error = mine
            refuse_unlike(agree(error, place.world_size, meta))
            if place.rank == 0 and mirror is not None:
                held.enter_context(answering(mirror))
            with seeing_lost():
                run(training, place, functools.partial(_saved, world_size), mirror)
        except Hw2Error as alike:  # agreed on; the batch's size, the gradient's norm
            return alike
    return None


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


def _saved(world_size: int, step: int, error: Hw2Error | None = None) -> None:
    """Tell Ray of the step alone: the checkpoints are our own, and shared with runs without Ray.

    Every worker must report the same number of times.
    """
    from ray import train as ray_train

    agree(error, world_size)
    ray_train.report({"step": step})
