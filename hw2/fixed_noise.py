"""The loss at a checkpoint: of the same samples, timesteps and noises each time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.objective import DenoisingObjective
from hw2.progress import progress


@dataclass(frozen=True)
class FixedNoiseLoss:
    """The objective on the same samples, timesteps and noises each time it is asked.

    `batch` is a NamedTuple of tensors, a row a sample, of which the network is given `at_once`. Of
    its rows `rows` are taken, None: all; a sample's noise is that of its place in `batch`.
    """

    objective: DenoisingObjective
    batch: Any
    seed: int
    at_once: int
    rows: Int64[Tensor, " k"] | None = None

    @torch.no_grad()
    def errors(
        self, net: nn.Module, advance: Callable[[int], object] = lambda count: None
    ) -> Float[Tensor, " b"]:
        """The error of each sample; `advance` is told how many more are done."""
        device, found = next(net.parameters()).device, []
        for rows in self.samples.split(self.at_once):
            part = self.batch._make(field[rows].to(device) for field in self.batch)
            random = CounterRandom(self.seed, 0, rows.tolist())
            found.append(self.objective.errors(net, part, random).cpu())
            advance(len(rows))
        return torch.cat(found)

    @property
    def samples(self) -> Int64[Tensor, " k"]:
        """The rows of `batch` that are taken."""
        return torch.arange(len(self.batch[0])) if self.rows is None else self.rows

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """`eval/loss` of `net`; tells how far it is if it takes long."""
        with progress(len(self.samples), "measuring", "samples", within=True) as bar:
            return {"eval/loss": float(self.errors(net, bar.advance).mean())}
