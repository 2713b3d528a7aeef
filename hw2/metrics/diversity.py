"""How much pictures of one class differ from each other.

Read it beside the accuracy: blurred or copied pictures lower it, but noise raises it.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hw2.metrics.jackknife import Estimate
from hw2.metrics.noise_blocks import noise_blocks


def pairwise_distance(x: Float[Tensor, "n d"]) -> Estimate:
    """Mean Euclidean distance D between two different rows.

    The mean is a U-statistic: unbiased at every n >= 2, so sets of different sizes compare. The
    delete-one jackknife has a closed form (Arvesen 1969): without row i it moves by
    2 (D - r_i) / (n - 2), r_i the mean distance of row i to the others. A bootstrap would put
    pairs at distance 0 in. The mean is nan for n < 2, the limits for n < 3.
    """
    n = len(x)
    if n < 2:
        return Estimate(math.nan, (torch.full((n,), math.nan, dtype=torch.float64),))
    x = x.double() - x[0].double()  # equal rows become zeros, which cdist finds at distance 0
    to_others = torch.cdist(x, x).fill_diagonal_(0).sum(1) / (n - 1)
    mean = to_others.mean()
    return Estimate(float(mean), (2 * (mean - to_others) / (n - 2),))


def relative_diversity(
    generated: Float[Tensor, "n d"],
    generated_classes: Int64[Tensor, " n"],
    real: Float[Tensor, "m d"],
    real_classes: Int64[Tensor, " m"],
) -> Estimate:
    """Diversity of the generated pictures over the real ones', class by class, then averaged.

    1 for equal distributions (but for a bias of the order of 1/m), 0 for a single picture
    repeated. The limits are the delta method's, the lower one at least 0, and allow for noise that
    generated classes share: in classes of as many pictures the i-th pictures are taken for one
    draw, which the jackknife leaves out of all of them. Without such noise that is right too. Real
    classes are independent.
    Left out are classes with a single picture in either set, and those whose real pictures are all
    alike; nan if none is left.
    """
    ratios, moves = [], []
    for block in noise_blocks(generated_classes):
        of_block = torch.zeros(block.shape[1], dtype=torch.float64)
        for rows in block:
            top = pairwise_distance(generated[rows])
            below = pairwise_distance(real[real_classes == generated_classes[rows[0]]])
            if top.value >= 0 and below.value > 0:
                ratios.append(top.value / below.value)
                moves.append(-top.value / below.value**2 * below.moves[0])
                of_block += top.moves[0] / below.value
        moves.append(of_block)
    k = len(ratios)
    mean = sum(ratios) / k if k else math.nan
    return Estimate(mean, tuple(moved / k if k else moved for moved in moves), least=0.0)
