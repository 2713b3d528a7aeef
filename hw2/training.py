"""The one training loop: plain torch, yields what happens, resumes bit for bit.

Everything random comes from counters keyed by (seed, step, sample), but for dropout, for which each
step seeds torch's own generator; so the state to resume is the weights, their average, the
optimiser's moments and the step.
"""

import contextlib
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hw2.allocator import OTHER, keep_freed_memory
from hw2.checkpoint import CheckpointStore
from hw2.data.files import sha256_of
from hw2.errors import ConfigError, Hw2Error
from hw2.events import Begun, Kept, Row, Saved
from hw2.gradients import Gradients, Objective, Place, Source
from hw2.locate import FINAL
from hw2.precision import wants_bf16
from hw2.settings.training import TrainConfig
from hw2.since_row import SinceRow, TrainingDiverged
from hw2.stopping import Asked
from hw2.train_state import TrainState
from hw2.weights import save_weights, wrote_weights

if TYPE_CHECKING:
    from PIL import Image


@runtime_checkable
class Evaluate(Protocol):
    """What is measured at each checkpoint on the averaged weights."""

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """Numbers by name; `eval/loss`, if there, decides which checkpoint is best."""


@dataclass(frozen=True)
class Training:
    """Everything that `train` needs, and the picture of a checkpoint for MLflow.

    `show` makes it, if any, of the averaged network, but no sooner than `show_every` seconds after
    the last, and of the last checkpoint in any case.
    """

    net: nn.Module
    objective: Objective
    source: Source
    config: TrainConfig
    seed: int
    out: Path
    meta: dict[str, Any] = field(default_factory=dict)
    evaluate: Evaluate | None = None
    show: "Callable[[Saved], Image.Image | None]" = lambda saved: None
    show_every: float = 0.0


def began_with(init: Path | None) -> dict[str, str]:
    """What `meta` says of the weights `init` that a training begins with; nothing of fresh ones."""
    return {} if init is None else {"init": sha256_of(init)}


def learning_rate(config: TrainConfig, step: int) -> float:
    """AdamW's rate at optimiser step `step` (1 .. num_steps): linear warm-up, then decay to 0."""
    warm = min(1.0, step / max(1, config.warmup_steps))
    left = (config.num_steps - step + 1) / max(1, config.num_steps - config.warmup_steps)
    left = min(1.0, left)
    decay = {"none": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}
    return config.learning_rate * warm * decay[config.decay]


def train(
    training: Training, place: Place | None = None, error: Exception | None = None
) -> Generator[Begun | Row | Saved | Kept, None, None]:
    """Train the network, continuing from the newest good checkpoint under `out`.

    Where its final weights lie already there is nothing to do, whatever became of the checkpoints.

    Yields, on every worker, Begun if there is a step to do, a Row each `log_every` steps (worker
    0's is the one to keep) and a Saved after each checkpoint, after the last once more if it was
    stopped there. Ends with `out/final.safetensors` ("net", "ema", and `meta`). More than one
    worker needs an initialised torch.distributed process group. An error thrown in at a Row is held
    until the next checkpoint, which is then not made: the other workers, who know nothing of it,
    can be told there.

    Worker 0 saves a checkpoint between two steps where a job that is stopped asks for one
    (`hw2.stopping`), of which nothing else is told, and where `place.leaving`, upon which it yields
    Kept.

    Parameters that do not require a gradient are frozen: they are not stored, and proven to be bit
    for bit the same at every checkpoint.

    `error` is one that has come to this worker alone: all raise it, as one of reading the newest
    checkpoint, before the first step.

    Raises ConfigError if the batch is smaller than the number of workers, or the only one's GPU has
    too little memory, CheckpointError if `out` was begun with another `meta`, TrainingDiverged if
    the gradient, or a weight to be saved, is not finite: the checkpoints from before stay.
    """
    place, config, out, meta = place or Place(), training.config, training.out, training.meta
    if config.batch_size < place.world_size:
        raise ConfigError(
            f"train.batch_size={config.batch_size} is smaller than the number of workers "
            f"{place.world_size}: raise it or lower scaling.num_workers"
        )
    keep_freed_memory()
    state, store, done = _taken_up(training, place, error)
    gradients = _gradients(training, place)
    less = f"lower train.batch_size={config.batch_size}, or raise train.accumulate"
    less += f"={config.accumulate}; checkpoints are kept"
    way_out = (
        f"lower train.learning_rate={config.learning_rate} or set train.precision fp32; "
        "the checkpoints from before are kept"
    )

    if state.step < config.num_steps:
        yield Begun(state.step)
    elif not done:  # stopped after its last checkpoint: what belongs to that may be missing
        yield Saved(state.step, state.ema.net)
    since, asked, saved = SinceRow(way_out), Asked(out), state.step

    while state.step < config.num_steps:
        if place.rank == 0 and ((stops := asked()) or place.leaving()):
            sound = state.step > saved and error is None and since.is_finite()
            if kept := sound and _kept(state, store, meta):
                saved = state.step
            if stops:
                asked.answer()
            elif kept:
                yield Kept(saved)
        step, rate = state.step + 1, learning_rate(config, state.step + 1)
        state.net.train()
        with place.room_on_gpu(less):
            loss, means, waited = gradients(step)
            norm = state.advance(rate, config.clip_norm)
        since.add(step, loss, norm, waited)

        saving = step % config.checkpoint_every == 0 or step == config.num_steps
        if not (saving or step % config.log_every == 0):
            continue
        row = since.row(config.batch_size, {**means, "learning_rate": rate})
        if saving and not state.is_finite():  # the gradient was, and the update was too large
            raise TrainingDiverged(f"step {step}: a weight is no longer a number: {way_out}")
        measured: dict[str, float] = {}
        if saving and training.evaluate is not None and place.rank == 0:
            with place.room_on_gpu(less), torch.no_grad(), gradients.autocast():
                measured = training.evaluate(state.ema.net)
        try:
            yield Row(step, row | measured)
            if saving and place.rank == 0 and error is None:
                state.check_frozen()
                store.save(step, state.tensors(), meta, measured.get("eval/loss"))
                saved = step
        except (Hw2Error, OSError) as mine:
            error = mine
        if saving:
            if place.rank == 0 and step == config.num_steps:
                asked.answer()  # there is nothing more to save: a stop waits for nobody
            yield Saved(step, state.ema.net, error)
            if error is not None:
                raise error

    if place.rank == 0:
        store.sweep()  # a run killed in its last checkpoint writes no other one
        if not done:
            nets = {"net": state.net, "ema": state.ema.net}
            save_weights(out / FINAL, nets, {**meta, "step": state.step}, only=state.names)


def _taken_up(
    training: Training, place: Place, error: Exception | None
) -> tuple[TrainState, CheckpointStore, bool]:
    """What moves, as the newest good checkpoint has it; the checkpoints; whether all is done.

    Raises, on every worker, the first of the workers' errors: this one's is `error`, if any.
    """
    config, out, meta = training.config, training.out, training.meta
    with place.room_on_gpu(OTHER):
        state = TrainState(training.net.to(place.device), config)
    store, done = CheckpointStore(out / "checkpoints", config.keep_last), False
    try:
        if (checkpoint := store.latest()) is not None:
            checkpoint.refuse_other(meta, out)
            state.load(checkpoint.step, checkpoint.tensors)
        if done := wrote_weights(out / FINAL, {**meta, "step": config.num_steps}):
            state.step = config.num_steps
    except Hw2Error as mine:
        error = error or mine
    if place.world_size > 1:
        error = state.refuse_apart(place.world_size, done, error)
    if error is not None:
        raise error
    return state, store, done


def _gradients(training: Training, place: Place) -> Gradients:
    """What computes a step's gradients, among the other workers, compiled if that is wanted."""
    config, net = training.config, training.net
    # A small network keeps a GPU waiting for its hundreds of launches a step: CUDA graphs are one.
    # They overwrite what they gave the call before, so that no gradients can be added up.
    alone = place.world_size == 1 and config.accumulate == 1
    graphs = config.compile and alone and place.device.type == "cuda"
    if config.compile:
        net.compile(mode="reduce-overhead" if graphs else None)
    if place.world_size > 1:
        # Without find_unused_parameters DDP rebuilds its buckets after the first step, and a
        # resumed run would add gradients up in another order than the undisturbed one.
        net = DistributedDataParallel(net, find_unused_parameters=True)
    bf16 = wants_bf16(config.precision, place.device)
    source, seed = training.source, training.seed
    return Gradients(net, training.objective, source, config, seed, place, bf16, graphs)


def _kept(state: TrainState, store: CheckpointStore, meta: dict[str, Any]) -> bool:
    """Whether a checkpoint between two others is saved; where it cannot be, the last one stays."""
    if not state.is_finite():
        return False
    with contextlib.suppress(Hw2Error, OSError):
        state.check_frozen()
        store.save(state.step, state.tensors(), meta, None)
        return True
    return False
