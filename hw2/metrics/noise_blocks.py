"""Which pictures start from one noise: what the limits of digits' scores allow for."""

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


def noise_blocks(classes: Int64[Tensor, " n"]) -> list[Int64[Tensor, "_classes _each"]]:
    """The rows of each class's pictures; classes of equally many pictures share a tensor.

    The pictures of a column, the i-th of each class, are taken to be drawn from one noise. Where
    they are not, as of real pictures, that costs nothing: they are independent within a column as
    well.
    """
    blocks = defaultdict(list)
    for one in classes.unique().tolist():
        rows = (classes == one).nonzero().squeeze(1)
        blocks[len(rows)].append(rows)
    return [torch.stack(rows) for rows in blocks.values()]


def without_group(
    blocks: list[Int64[Tensor, "_classes _each"]], group: int, num_groups: int
) -> Int64[Tensor, " n"]:
    """Rows of all columns but every `num_groups`-th from column `group` on."""
    return torch.cat(
        [block[:, torch.arange(block.shape[1]) % num_groups != group].flatten() for block in blocks]
    )


@dataclass(frozen=True)
class Shared:
    """How pictures that share noises count: what `hw2.metrics.intervals.wilson` asks for."""

    design_effect: float
    freedom: float

    @classmethod
    def of(cls, values: Shaped[Tensor, " n"], classes: Int64[Tensor, " n"]) -> "Shared":
        """How often the variance of the mean of `values` is that of independent ones, at least 1.

        Kish 1965: between columns of `noise_blocks`, as a share of between pictures; its degrees
        of freedom are those of the columns. INDEPENDENT where classes have different numbers of
        pictures, for then nothing tells which share a noise, and where there are none. Where all
        values are alike the effect is 1; of a few that differ it is a rough guess.
        """
        blocks = noise_blocks(classes)
        if len(blocks) != 1 or blocks[0].shape[1] < 2:
            return INDEPENDENT
        found = values.double()[blocks[0]]
        alone = found.var(correction=0) / found.numel()
        together = found.mean(0).var() / found.shape[1]
        effect = max(float(together / alone), 1.0) if alone > 0 else 1.0
        return cls(effect, found.shape[1] - 1)


INDEPENDENT = Shared(1.0, math.inf)
