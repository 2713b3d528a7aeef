"""How much pictures of one class differ from each other.

Read it beside the accuracy: blurred or copied pictures lower it, but noise raises it.
"""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from hw2.metrics.intervals import UNDEFINED, Interval, student_interval
from hw2.metrics.noise_blocks import noise_blocks


def pairwise_distance(x: Float[Tensor, "n d"]) -> tuple[float, float]:
    """Mean Euclidean distance between two different rows, and the variance of this mean.

    The mean is a U-statistic: unbiased at every n >= 2, so sets of different sizes compare. Its
    variance is the delete-one jackknife's in closed form (Arvesen 1969). A bootstrap would put
    pairs at distance 0 in. The mean is nan for n < 2, the variance for n < 3.
    """
    mean, moves = _without_each(x)
    return mean, _jackknife(moves)


def relative_diversity(
    generated: Float[Tensor, "n d"],
    generated_classes: Int64[Tensor, " n"],
    real: Float[Tensor, "m d"],
    real_classes: Int64[Tensor, " m"],
) -> Interval:
    """Diversity of the generated pictures over the real ones', class by class, then averaged.

    1 for equal distributions (but for a bias of the order of 1/m), 0 for a single picture
    repeated. The limits are the delta method's, with Student's t, and allow for noise that
    generated classes share: in classes of as many pictures the i-th pictures are taken for one
    draw, which the jackknife leaves out of all of them. Without such noise that is right too. Real
    classes are independent.
    Left out are classes with a single picture in either set, and those whose real pictures are all
    alike; nan if none is left.
    """
    ratios, parts = [], []
    for block in noise_blocks(generated_classes):
        moved = torch.zeros(block.shape[1], dtype=torch.float64)
        for rows in block:
            top, moves = _without_each(generated[rows])
            same = real_classes == generated_classes[rows[0]]
            below, below_variance = pairwise_distance(real[same])
            if top >= 0 and below > 0:
                ratios.append(top / below)
                parts.append(((top / below**2) ** 2 * below_variance, int(same.sum()) - 1))
                moved += moves / below
        parts.append((_jackknife(moved), block.shape[1] - 1))
    if not ratios:
        return UNDEFINED
    k = len(ratios)
    parts = [(variance / k**2, freedom) for variance, freedom in parts]
    return student_interval(sum(ratios) / k, parts)


def _without_each(x: Float[Tensor, "n d"]) -> tuple[float, Float64[Tensor, " n"]]:
    """Mean distance D between rows, and by how much leaving out each moves it.

    It is 2 (D - r_i) / (n - 2), r_i the mean distance of row i to the others.
    """
    n = len(x)
    if n < 2:
        return math.nan, torch.full((n,), math.nan, dtype=torch.float64)
    x = x.double() - x[0].double()  # equal rows become zeros, which cdist finds at distance 0
    to_others = torch.cdist(x, x).fill_diagonal_(0).sum(1) / (n - 1)
    mean = to_others.mean()
    return float(mean), 2 * (mean - to_others) / (n - 2)


def _jackknife(moves: Float64[Tensor, " n"]) -> float:
    """The variance of an estimate that leaving out each of n draws moves by `moves`."""
    if (n := len(moves)) < 2:
        return math.nan
    return (n - 1) / n * float(moves.square().sum())
