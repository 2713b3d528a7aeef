"""Distances between two sets of pictures, measured in the features of a network.

The features are (n, d), any floating type; the work is done in float64. Neither distance knows
which network made the features: numbers of two networks cannot be compared.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.intervals import Interval, half_sampling


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al. 2017, eq. 6).

    Covariances are divided by n - 1. With C = R^T R from a QR decomposition of the centred rows,
    the eigenvalues of (C_a C_b)^(1/2) are the singular values of R_a R_b^T: real and
    non-negative by construction, also for fewer rows than features. Small sets read too high
    (Chong & Forsyth 2020): compare only scores of sets of the same sizes.
    Raises DataError for fewer than 2 rows, other widths, or features that are not finite.
    """
    _check("Frechet distance", a, b)
    a, b = a.double(), b.double()
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    trace = root_a.square().sum() + root_b.square().sum()
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return max(float(means + trace - 2 * cross), 0.0)  # rounding can leave -1e-14


def kernel_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """Unbiased squared MMD with k(x, y) = (x.y / d + 1)^3 (Binkowski et al. 2018, KID).

    Over all pairs rather than a mean over subsets, and not multiplied by 1000. Its expectation
    is 0 for equal distributions whatever the sizes, so it can be a little below 0.
    Raises DataError for fewer than 2 rows, other widths, or features that are not finite.
    """
    _check("kernel distance", a, b)
    a, b = a.double(), b.double()
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - _kernel_trace(a)) / (n * (n - 1))
    within_b = (_kernel_sum(b, b) - _kernel_trace(b)) / (m * (m - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b) / (n * m)


def frechet_interval(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    seed: int,
    num_subsets: int = 50,
    confidence: float = 0.95,
) -> Interval:
    """`frechet_distance` with limits by half-sampling, the lower one at least 0.

    A bootstrap would not do: repeated rows shrink the covariances' rank and shift every
    replicate upward. The limits are about the expected score of sets of these sizes, small-set
    bias included.
    """
    found = half_sampling(
        frechet_distance, a, b, seed=seed, num_subsets=num_subsets, confidence=confidence
    )
    # Written so that a nan limit stays nan.
    return Interval(found.value, 0.0 if found.low < 0 else found.low, found.high)


def kernel_interval(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    seed: int,
    num_subsets: int = 50,
    confidence: float = 0.95,
) -> Interval:
    """`kernel_distance` with limits by half-sampling.

    A bootstrap would pair a row with its own copy, which the unbiased estimate must not.
    """
    return half_sampling(
        kernel_distance, a, b, seed=seed, num_subsets=num_subsets, confidence=confidence
    )


def _covariance_root(x: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """R with R^T R = the covariance of the rows; k = min(n, d)."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R


def _kernel_sum(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    # In blocks, so that 50,000 pictures do not need a 50,000 x 50,000 matrix.
    blocks = a.split(1024)
    return sum(float((block @ b.T).div_(a.shape[1]).add_(1).pow_(3).sum()) for block in blocks)


def _kernel_trace(x: Float[Tensor, "n d"]) -> float:
    return float((x.square().sum(1) / x.shape[1] + 1).pow(3).sum())


def _check(what: str, a: Tensor, b: Tensor) -> None:
    if min(len(a), len(b)) < 2:
        raise DataError(f"{what} of {len(a)} and {len(b)} pictures: need 2 or more in each set")
    if a.shape[1:] != b.shape[1:]:
        raise DataError(
            f"{what} of features {tuple(a.shape)} and {tuple(b.shape)}: "
            "both sets must come from the same network"
        )
    for x in (a, b):
        bad = int((~x.isfinite()).any(1).sum())
        if bad:
            raise DataError(
                f"{what}: the features of {bad} of {len(x)} pictures are not finite: "
                "draw them again with a model that has not diverged"
            )
