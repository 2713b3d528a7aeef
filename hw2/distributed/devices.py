"""The device of a process that computes, and whether torch can use the GPU that is there."""

import contextlib
import functools
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hw2.allocator import OTHER, room_on_gpu
from hw2.config import AnyScaling, OwnProcessConfig, ScalingConfig
from hw2.distributed.reach import joining
from hw2.errors import ConfigError
from hw2.settings.values import Precision

if TYPE_CHECKING:
    import torch

# What torch says of a driver, before its advice and the line of its own code.
WARNED = re.compile(r"CUDA initialization: (.+?)\.?(?: Please| Setting| \(Triggered|$)")

P = ParamSpec("P")
T = TypeVar("T")


def gpu_refusal() -> str | None:
    """Why torch cannot compute on a GPU of this machine; None if it can.

    Ray counts GPUs by NVIDIA's management library, also those that torch's kernels or its CUDA
    are too new for.
    """
    import torch

    told = _said_of_driver()
    if not torch.cuda.is_available():
        if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) in ("", "-1"):
            return f"CUDA_VISIBLE_DEVICES={visible} hides all GPUs"
        if told:
            return f"torch finds no GPU here ({told})"
        return "torch finds no GPU here, or a driver that is too old for it"
    try:
        mine = torch.cuda.get_device_capability()
    except RuntimeError as error:  # it hangs, another has it alone, its memory is faulty
        return f"the GPU does not answer ({str(error).partition(chr(10))[0]})"
    made_for = torch.cuda.get_arch_list()
    for kind, major, minor in re.findall(r"\b(sm|compute)_(\d+)(\d)", " ".join(made_for)):
        least = int(major), int(minor)
        if least <= mine and (kind == "compute" or least[0] == mine[0]):
            return None
    has = f"{torch.cuda.get_device_name()} is of compute capability {mine[0]}.{mine[1]}"
    return f"{has}, and torch {torch.__version__} is made for {' '.join(made_for)}"


@functools.cache
def _said_of_driver() -> str:
    """What torch says of a driver that it cannot use: a warning, once in a process; "" of none."""
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.is_available()
    found = (WARNED.match(str(one.message)) for one in told)
    return next((said[1] for said in found if said), "")


@functools.cache
def say_once(line: str) -> None:
    """`line` on stderr, the first time."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def given_gpu(on_gpu: bool) -> Iterator[None]:
    """In the block a worker of Ray loads what it computes with, `on_gpu` if it was given one.

    Raises ConfigError where that is full, or torch computes nothing with it: of a cluster's nodes
    the job has but Ray's word, and torch's error does not name the node.
    """
    if on_gpu and (why := gpu_refusal()):
        raise ConfigError(
            f"node {platform.node()}: {why}: mend that, or give --scaling.use_gpu false"
        )
    with room_on_gpu(OTHER):
        yield


def own_device(scaling: AnyScaling) -> "torch.device":
    """The device of a job that runs without Ray: the processor, or the GPU if told so."""
    import torch

    if scaling.use_gpu and (why := gpu_refusal()):
        raise ConfigError(f"scaling.use_gpu=true, but {why}: leave it out")
    return torch.device("cuda" if scaling.use_gpu else "cpu")


def driver_device(scaling: AnyScaling) -> "torch.device":
    """The device of what a job computes itself when its workers are done: a GPU if they had one.

    Of this machine; where a joined cluster may have lent it to others, only if told so.
    """
    import torch

    if scaling.num_workers == 0:
        return own_device(scaling)
    wanted = not joining() if scaling.use_gpu is None else scaling.use_gpu
    return torch.device("cuda" if wanted and gpu_refusal() is None else "cpu")


def number_format(precision: Precision, scaling: AnyScaling) -> Precision:
    """`precision`, where "auto" is what it means here; a cluster's nodes decide for themselves."""
    if precision != "auto" or joining():
        return precision
    from hw2.precision import wants_bf16

    return "bf16" if wants_bf16(precision, driver_device(scaling)) else "fp32"


def grading_device(scaling: OwnProcessConfig) -> "torch.device":
    """`own_device`, after this process has the threads that it is to compute with."""
    import torch

    if scaling.cpus_per_worker is not None:
        torch.set_num_threads(scaling.cpus_per_worker)
    return own_device(scaling)


def with_threads(make: Callable[P, T], scaling: ScalingConfig) -> Callable[P, T]:
    """`make`, before which the process that calls it is given a worker's number of threads."""

    def start(*args: P.args, **kwargs: P.kwargs) -> T:
        import torch

        torch.set_num_threads(scaling.num_threads)
        return make(*args, **kwargs)

    return start
