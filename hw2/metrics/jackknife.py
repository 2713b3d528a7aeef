"""Limits by the jackknife: of statistics that repeated rows bias, alone and in pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import starmap

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.intervals import Interval, check_sizes, student_interval
from hw2.metrics.noise_blocks import noise_blocks, without_group

Moves = Float64[Tensor, " _"]  # (groups,), each sample its own


@dataclass(frozen=True, eq=False)
class Estimate:
    """A statistic, and by how much leaving out each group of rows moves it.

    Of two on the same rows, as of pictures from the same noises against the same real ones, the
    difference `a - b` is in pairs: what moves both alike is in neither's favour.

    Attributes:
        value: that of all rows.
        moves: of each independent sample those by its groups; nan where it is too small.
        least: what the statistic cannot fall below.
    """

    value: float
    moves: tuple[Moves, ...]
    least: float = -torch.inf

    @property
    def interval(self) -> Interval:
        """With Student's limits of 95 % (Shao & Tu 1995, 2.3)."""
        parts = [(_variance(moves), max(len(moves) - 1, 0)) for moves in self.moves]
        found = student_interval(self.value, parts)
        low = self.least if found.low < self.least else found.low  # a nan stays one
        return Interval(self.value, low, found.high)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Raises DataError for estimates whose rows were not grouped alike."""
        sizes = [tuple(map(len, estimate.moves)) for estimate in (self, other)]
        if sizes[0] != sizes[1]:
            raise DataError(f"estimates of {sizes[0]} and {sizes[1]} groups: no pairs")
        moves = starmap(torch.sub, zip(self.moves, other.moves, strict=True))
        return Estimate(self.value - other.value, tuple(moves))

    def table(self) -> Float64[Tensor, "2 moves"]:
        """All moves, each under the number of its sample: what `of_table` makes it of again."""
        parts = [torch.full_like(moves, i) for i, moves in enumerate(self.moves)]
        return torch.stack([torch.cat(parts), torch.cat(self.moves)])

    @classmethod
    def of_table(cls, value: float, table: Float64[Tensor, "2 moves"]) -> "Estimate":
        """The estimate whose `table` this is, but for its `least`, which a difference has not."""
        sizes = table[0].unique_consecutive(return_counts=True)[1].tolist()
        return cls(value, table[1].split(sizes))


Found = Interval | Estimate


def interval_of(found: Found) -> Interval:
    """What was found with its limits."""
    return found if isinstance(found, Interval) else found.interval


def _variance(moves: Moves) -> float:
    """The jackknife's variance of an estimate, by its moves; nan of fewer than two groups."""
    return (len(moves) - 1) * float(moves.var(correction=0)) if len(moves) > 1 else torch.nan


def jackknife(
    statistic: Callable[..., float | Tensor],
    *classes: Int64[Tensor, " _"],
    num_groups: int = 20,
    least: float = -torch.inf,
) -> Estimate:
    """A statistic of samples, by the grouped jackknife.

    Each sample in turn is left without one of `num_groups` groups of its rows. No row is there
    twice, and only the spread is used, not the mean, so neither repeated rows nor the bias of small
    samples moves the limits, as they would in a bootstrap. Where the statistic is at its minimum
    (equal distributions) the limits are up to 1.5 times wider than need be.

    Args:
        statistic: Of a tensor of rows for each sample.
        classes: Of each sample the classes of its rows, (n_i,): a group has as much of each, and of
            classes of as many rows the same ones (`noise_blocks`).
        least: As of `Estimate`.

    With fewer than 4 rows in the largest class of a sample the limits are nan. Raises DataError for
    an empty sample.
    """
    check_sizes(classes)
    whole = [torch.arange(len(of)) for of in classes]
    blocks = [noise_blocks(of) for of in classes]
    groups = [min(num_groups, max(block.shape[1] for block in of)) for of in blocks]
    value = float(statistic(*whole))
    moves = [torch.full((count,), torch.nan, dtype=torch.float64) for count in groups]
    if min(groups) >= 4:
        for i, count in enumerate(groups):
            for group in range(count):
                rows = without_group(blocks[i], group, count)
                moves[i][group] = float(statistic(*whole[:i], rows, *whole[i + 1 :])) - value
    return Estimate(value, tuple(moves), least)
