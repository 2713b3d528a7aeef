"""How much pictures of one class differ from each other.

Read it beside the accuracy: blurred or copied pictures lower it, but noise raises it.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hw2.metrics.intervals import UNDEFINED, Interval, normal_interval


def pairwise_distance(x: Float[Tensor, "n d"]) -> tuple[float, float]:
    """Mean Euclidean distance between two different rows, and the variance of this mean.

    The mean is a U-statistic: unbiased at every n >= 2, so sets of different sizes compare. Its
    variance is the delete-one jackknife's in closed form (Arvesen 1969): leaving out row i moves
    the mean by 2 (D - r_i) / (n - 2), r_i the mean distance of row i to the others. A bootstrap
    would put pairs at distance 0 in. The mean is nan for n < 2, the variance for n < 3.
    """
    n = len(x)
    if n < 2:
        return math.nan, math.nan
    x = x.double()
    distances = torch.cdist(x, x).fill_diagonal_(0)
    to_others = distances.sum(1) / (n - 1)
    mean = to_others.mean()
    if n < 3:
        return float(mean), math.nan
    variance = (n - 1) / n * (2 / (n - 2)) ** 2 * (to_others - mean).square().sum()
    return float(mean), float(variance)


def relative_diversity(
    generated: Float[Tensor, "n d"],
    generated_digits: Int64[Tensor, " n"],
    real: Float[Tensor, "m d"],
    real_digits: Int64[Tensor, " m"],
    confidence: float = 0.95,
) -> Interval:
    """Diversity of the generated pictures over the real ones', class by class, then averaged.

    1 for equal distributions (but for a bias of the order of 1/m), 0 for a single picture
    repeated. The limits are the delta method's. Left out are classes with a single picture in
    either set, and those whose real pictures are all alike; nan if none is left.
    """
    ratios = []
    for digit in generated_digits.unique().tolist():
        top, top_variance = pairwise_distance(generated[generated_digits == digit])
        below, below_variance = pairwise_distance(real[real_digits == digit])
        if top >= 0 and below > 0:
            ratio = top / below
            variance = (top_variance + ratio**2 * below_variance) / below**2
            ratios.append((ratio, variance))
    return _mean(ratios, confidence)


def _mean(estimates: list[tuple[float, float]], confidence: float) -> Interval:
    """Mean of independent (value, variance) with normal limits."""
    if not estimates:
        return UNDEFINED
    values, variances = zip(*estimates, strict=True)
    k = len(values)
    return normal_interval(sum(values) / k, sum(variances) / k**2, confidence)
