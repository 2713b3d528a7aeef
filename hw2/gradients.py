"""What a worker computes of a step: its share of the batch, and the gradients of all."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hw2.allocator import room_on_gpu
from hw2.diffusion.counter import CounterRandom, random_for
from hw2.settings.training import TrainConfig


@runtime_checkable
class Source(Protocol):
    """Training data: the samples of a step, the same whoever asks."""

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> Any:
        """A named tuple of tensors for positions `samples` of the step's global batch."""


@runtime_checkable
class Objective(Protocol):
    """What a training minimises."""

    def __call__(
        self, net: nn.Module, batch: Any, random: CounterRandom
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss over the batch, and further means to log."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among the workers."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    # Whether, as a machine of the workers is about to be taken away, worker 0 is to save now.
    leaving: Callable[[], bool] = lambda: False

    def share(self, batch_size: int) -> range:
        """The positions of the global batch that this worker takes."""
        low = batch_size * self.rank // self.world_size
        return range(low, batch_size * (self.rank + 1) // self.world_size)

    def room_on_gpu(self, way_out: str) -> contextlib.AbstractContextManager[None]:
        """`hw2.allocator.room_on_gpu` for the only worker.

        Of several the others would wait for the one that raised it: there torch's error stays.
        """
        return room_on_gpu(way_out) if self.world_size == 1 else contextlib.nullcontext()


def _quiet(net: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Leaves the gradients of a backward pass to this worker alone."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) else contextlib.nullcontext()


def _to(batch: Any, device: torch.device) -> Any:
    """`batch` on `device`; by way of pinned memory, from which a copy waits for nothing."""
    if device.type == "cuda":
        batch = type(batch)(*(field.pin_memory() for field in batch))
    return type(batch)(*(field.to(device, non_blocking=True) for field in batch))


@dataclass(frozen=True)
class Gradients:
    """Adds a step's gradients to those of `net`, which DDP holds if there are several workers."""

    net: nn.Module
    objective: Objective
    source: Source
    config: TrainConfig
    seed: int
    place: Place
    bf16: bool
    graphs: bool = False  # whether `net` is compiled into CUDA graphs

    def autocast(self) -> torch.autocast:
        """The precision that `net` computes in."""
        return torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.bf16)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, Tensor], float]:
        """All workers' loss and metrics, and this one's seconds of waiting for data."""
        config, place = self.config, self.place
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        share = place.share(config.batch_size)
        loss, extra, waited = torch.zeros((), device=place.device), dict[str, Tensor](), 0.0
        chunks = [
            chunk for i in range(config.accumulate) if (chunk := share[i :: config.accumulate])
        ]
        for number, chunk in enumerate(chunks, start=1):
            begin = time.perf_counter()
            batch = _to(self.source.batch(step, chunk, config.batch_size), place.device)
            waited += time.perf_counter() - begin
            # Dropout alone draws from torch's own generator.
            torch.manual_seed(hash((self.seed, step, chunk[0])) % 2**63)
            # Workers add up once, after the last chunk.
            with _quiet(self.net) if number < len(chunks) else contextlib.nullcontext():
                with self.autocast():
                    random = random_for(place.device, self.seed, step, chunk, config.batch_size)
                    mean, more = self.objective(self.net, batch, random)
                # DDP averages over workers: weigh by share, so that uneven shares count right.
                (mean * (len(chunk) * place.world_size / config.batch_size)).backward()
            loss += mean.detach() * (len(chunk) / config.batch_size)
            for key, value in more.items():
                extra[key] = extra.get(key, 0) + value.detach() * (len(chunk) / config.batch_size)
        if place.world_size > 1:
            sums = torch.stack([loss, *extra.values()])
            torch.distributed.all_reduce(sums)
            loss, extra = sums[0], dict(zip(extra, sums[1:], strict=True))
        return loss, extra, waited
