"""The one training loop: plain torch, yields what happens, resumes bit for bit.

Everything random comes from counters keyed by (seed, step, sample), so that the state to resume is
the weights, their average, the optimiser's moments and the step.
"""

import contextlib
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hw2.allocator import room_on_gpu
from hw2.checkpoint import CheckpointStore, save_weights
from hw2.diffusion.counter import CounterRandom, random_for
from hw2.errors import ConfigError, Hw2Error
from hw2.precision import wants_bf16
from hw2.settings.training import TrainConfig
from hw2.train_state import TrainState


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


@runtime_checkable
class Evaluate(Protocol):
    """What is measured at each checkpoint on the averaged weights."""

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """Numbers by name; `eval/loss`, if there, decides which checkpoint is best."""


@dataclass(frozen=True)
class Begun:
    """Training goes on after `step`, where the newest good checkpoint stands; 0: it starts."""

    step: int


@dataclass(frozen=True)
class Row:
    """The metrics of one optimiser step (counted from 1)."""

    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Saved:
    """A checkpoint was committed by worker 0; `ema` holds the averaged network.

    Where `error` on worker 0 says why it was not, going on raises it.
    """

    step: int
    ema: nn.Module
    error: Exception | None = None


@dataclass(frozen=True)
class Place:
    """Where this process stands among the workers."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def share(self, batch_size: int) -> range:
        """The positions of the global batch that this worker takes."""
        low = batch_size * self.rank // self.world_size
        return range(low, batch_size * (self.rank + 1) // self.world_size)


class TrainingDiverged(Hw2Error, ArithmeticError):
    """The loss or gradient is no longer a number."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """AdamW's rate at optimiser step `step` (1 .. num_steps): linear warm-up, then decay to 0."""
    warm = min(1.0, step / max(1, config.warmup_steps))
    left = (config.num_steps - step + 1) / max(1, config.num_steps - config.warmup_steps)
    left = min(1.0, left)
    decay = {"none": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}
    return config.learning_rate * warm * decay[config.decay]


def _quiet(net: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Leaves the gradients of a backward pass to this worker alone."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) else contextlib.nullcontext()


def _to(batch: Any, device: torch.device) -> Any:
    """`batch` on `device`; by way of pinned memory, from which a copy waits for nothing."""
    if device.type == "cuda":
        batch = type(batch)(*(field.pin_memory() for field in batch))
    return type(batch)(*(field.to(device, non_blocking=True) for field in batch))


def train(
    net: nn.Module,
    objective: Objective,
    source: Source,
    config: TrainConfig,
    *,
    seed: int,
    out: Path,
    meta: dict[str, Any],
    evaluate: Evaluate | None = None,
    place: Place | None = None,
) -> Generator[Begun | Row | Saved, None, None]:
    """Train `net`, continuing from the newest good checkpoint under `out`.

    Yields, on every worker, Begun if there is a step to do, a Row each `log_every` steps (worker
    0's is the one to keep) and a Saved after each checkpoint. Ends with `out/final.safetensors`
    ("net", "ema", and `meta`). More than one worker needs an initialised torch.distributed process
    group. An error thrown in at a Row is held until the next checkpoint, which is then not made:
    the other workers, who know nothing of it, can be told there.

    Parameters that do not require a gradient are frozen: they are not stored, and proven to be bit
    for bit the same at every checkpoint.

    Raises ConfigError if the batch is smaller than the number of workers, CheckpointError if `out`
    was begun with another `meta`, TrainingDiverged if the gradient, or a weight to be saved, is not
    finite: the checkpoints from before stay. ConfigError too where a GPU that trains alone has too
    little memory; of several, one that tells would be waited for.
    """
    place = place or Place()
    share = place.share(config.batch_size)
    if config.batch_size < place.world_size:
        raise ConfigError(
            f"train.batch_size={config.batch_size} is smaller than the number of workers "
            f"{place.world_size}: raise it or lower scaling.num_workers"
        )
    net = net.to(place.device)
    state = TrainState(net, config)
    store = CheckpointStore(out / "checkpoints", config.keep_last)
    if (checkpoint := store.latest()) is not None:
        checkpoint.refuse_other(meta, out)
        state.load(checkpoint.step, checkpoint.tensors)
    if place.world_size > 1:
        state.refuse_apart(place.world_size)
    # A small network keeps a GPU waiting for its hundreds of launches a step: CUDA graphs are one.
    # They overwrite what they gave the call before, so that no gradients can be added up.
    alone = place.world_size == 1 and config.accumulate == 1
    graphs = config.compile and alone and place.device.type == "cuda"
    if config.compile:
        net.compile(mode="reduce-overhead" if graphs else None)
    worker_net: nn.Module = net
    if place.world_size > 1:
        # Without find_unused_parameters DDP rebuilds its buckets after the first step, and a
        # resumed run would add gradients up in another order than the undisturbed one.
        worker_net = DistributedDataParallel(net, find_unused_parameters=True)
    bf16 = wants_bf16(config.precision, place.device)

    way_out = (
        f"lower train.learning_rate={config.learning_rate} or set train.precision fp32; "
        "the checkpoints from before are kept"
    )

    less = (
        f"lower train.batch_size={config.batch_size}, or raise "
        f"train.accumulate={config.accumulate}; checkpoints are kept"
    )

    def gradients(step: int) -> tuple[Tensor, dict[str, Tensor], float]:
        """Add to the gradients; all workers' loss and metrics, this one's seconds of waiting."""
        loss, extra, waited = torch.zeros((), device=place.device), dict[str, Tensor](), 0.0
        chunks = [
            chunk for i in range(config.accumulate) if (chunk := share[i :: config.accumulate])
        ]
        for number, chunk in enumerate(chunks, start=1):
            begin = time.perf_counter()
            batch = _to(source.batch(step, chunk, config.batch_size), place.device)
            waited += time.perf_counter() - begin
            # Dropout alone draws from torch's own generator.
            torch.manual_seed(hash((seed, step, chunk[0])) % 2**63)
            # Workers add up once, after the last chunk.
            with _quiet(worker_net) if number < len(chunks) else contextlib.nullcontext():
                with torch.autocast(place.device.type, torch.bfloat16, enabled=bf16):
                    random = random_for(place.device, seed, step, chunk, config.batch_size)
                    mean, more = objective(worker_net, batch, random)
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

    final = out / "final.safetensors"
    done = state.step >= config.num_steps and final.is_file()
    if state.step < config.num_steps:
        yield Begun(state.step)
    started = time.perf_counter()
    error: Exception | None = None
    unseen: list[tuple[int, Tensor, Tensor, float]] = []  # step, loss, norm, wait since the row

    while state.step < config.num_steps:
        step = state.step + 1
        rate = learning_rate(config, step)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        net.train()
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with room_on_gpu(less) if place.world_size == 1 else contextlib.nullcontext():
            loss, extra, waited = gradients(step)
        norm = nn.utils.clip_grad_norm_(state.params.values(), config.clip_norm)
        unseen.append((step, loss, norm, waited))
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.ema.update(net, step)
        state.step = step

        saving = step % config.checkpoint_every == 0 or step == config.num_steps
        if not (saving or step % config.log_every == 0):
            continue  # looking at a number would wait for the device
        for number, its_loss, its_norm, _ in unseen:
            if not math.isfinite(float(its_norm)):
                said = f"loss {float(its_loss):.4g}, gradient norm {float(its_norm):.4g}"
                raise TrainingDiverged(f"step {number}: {said}: {way_out}")
        # Logging, reporting and saving the row before are part of this row's time.
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        pictures, waits = config.batch_size * len(unseen), sum(wait for *_, wait in unseen)
        unseen.clear()
        if saving and not state.is_finite():  # the gradient was, and the update was too large
            raise TrainingDiverged(f"step {step}: a weight is no longer a number: {way_out}")
        measured: dict[str, float] = {}
        if saving and evaluate is not None and place.rank == 0:
            with torch.no_grad(), torch.autocast(place.device.type, torch.bfloat16, enabled=bf16):
                measured = evaluate(state.ema.net)
        row = {
            "train/loss": float(loss),
            **{f"train/{key}": float(value) for key, value in extra.items()},
            "train/learning_rate": rate,
            "train/gradient_norm": float(norm),
            "train/pictures_per_second": pictures / seconds,
            "train/data_wait_share": waits / seconds,
            **measured,
        }
        try:
            yield Row(step, row)
            if saving and place.rank == 0 and error is None:
                state.check_frozen()
                store.save(step, state.tensors(), meta, measured.get("eval/loss"))
        except (Hw2Error, OSError) as mine:
            error = mine
        if saving:
            yield Saved(step, state.ema.net, error)
            if error is not None:
                raise error

    if place.rank == 0:
        store.sweep()  # a run killed in its last checkpoint writes no other one
        if not done:
            nets = {"net": net, "ema": state.ema.net}
            save_weights(final, nets, {**meta, "step": state.step}, only=state.names)
