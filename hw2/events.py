"""What a training tells while it runs."""

from dataclasses import dataclass

from torch import nn


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
class Kept:
    """Worker 0 alone has saved one between two checkpoints, as a machine is to be taken away."""

    step: int
