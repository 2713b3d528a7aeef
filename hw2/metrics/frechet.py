"""Distances between two sets of pictures, measured in the features of a network.

The features are (n, d), any floating type; the work is done in float64. Neither distance knows
which network made the features: numbers of two networks cannot be compared.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.jackknife import Estimate, jackknife
from hw2.metrics.noise_blocks import noise_blocks


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al. 2017, eq. 6).

    Covariances are divided by n - 1. With C = R^T R from a QR decomposition of the centred rows,
    the eigenvalues of (C_a C_b)^(1/2) are the singular values of R_a R_b^T: real and
    non-negative by construction, also for fewer rows than features. Small sets read too high, the
    more the wider rows are spread within classes (Chong & Forsyth 2020): compare only sets of the
    same sizes, and those of unlike spreads by `kernel_distance` as well, which has no such bias.
    Raises DataError for fewer than 2 rows, other widths, or features that are not finite.
    """
    _check("Frechet distance", a, b)
    a, b = a.double(), b.double()
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    trace = root_a.square().sum() + root_b.square().sum()
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return max(float(means + trace - 2 * cross), 0.0)  # rounding can leave -1e-14


def kernel_distance(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    a_classes: Int64[Tensor, " n"] | None = None,
    b_classes: Int64[Tensor, " m"] | None = None,
) -> float:
    """Unbiased squared MMD with k(x, y) = (x.y / d + 1)^3 (Binkowski et al. 2018, KID).

    Over all pairs rather than a mean over subsets, and not multiplied by 1000. Its expectation
    is 0 for equal distributions whatever the sizes, so it can be a little below 0. Where a set has
    so many of each class, not rows at random, pairs of one class would count for too little and
    make it less than 0: given the classes, pairs are averaged for each two classes, and weighted by
    their shares; pairs of one noise (`noise_blocks`) are left out.
    Raises DataError for fewer than 2 rows, other widths, or features that are not finite.
    """
    _check("kernel distance", a, b)
    a, b = a.double(), b.double()
    of_a, of_b = _members(_classes_of(a, a_classes)), _members(_classes_of(b, b_classes))
    between = float(_kernel_sums(a, of_a, b, of_b).sum()) / (len(a) * len(b))
    return _within(a, of_a) + _within(b, of_b) - 2 * between


Classes = tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]


def frechet_estimate(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], classes: Classes | None = None
) -> Estimate:
    """`frechet_distance` by the jackknife, the lower limit at least 0.

    `classes` of both sets, as `jackknife` takes them. A bootstrap would not do: repeated rows
    shrink the covariances' rank and shift every replicate upward. The limits are about the
    expected score of sets of these sizes, small-set bias included.
    """
    classes = classes or (_classes_of(a), _classes_of(b))
    return jackknife(lambda i, j: frechet_distance(a[i], b[j]), *classes, least=0.0)


def kernel_estimate(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], classes: Classes | None = None
) -> Estimate:
    """`kernel_distance` by the jackknife, as `frechet_estimate`.

    A bootstrap would pair a row with its own copy, which the unbiased estimate must not.
    """
    of_a, of_b = classes or (_classes_of(a), _classes_of(b))
    return jackknife(lambda i, j: kernel_distance(a[i], b[j], of_a[i], of_b[j]), of_a, of_b)


def _classes_of(
    x: Float[Tensor, "n d"], classes: Int64[Tensor, " n"] | None = None
) -> Int64[Tensor, " n"]:
    """The classes of the rows: one for all where none are given."""
    return torch.zeros(len(x), dtype=torch.int64) if classes is None else classes


def _covariance_root(x: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """R with R^T R = the covariance of the rows; k = min(n, d)."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R


def _within(x: Float[Tensor, "n d"], members: Float[Tensor, "n classes"]) -> float:
    """The mean of k over pairs of rows, two classes at a time; nan if there is no pair."""
    sums = _kernel_sums(x, members, x, members)
    sizes = members.sum(0)
    pairs = sizes[:, None] * sizes
    for block in noise_blocks(members.argmax(1)):
        of = members[block[:, 0]].argmax(1)
        alike = x[block]
        of_one_noise = _kernel(alike.transpose(0, 1), alike.transpose(0, 1)).sum(0)
        sums[of[:, None], of] -= of_one_noise
        pairs[of[:, None], of] -= block.shape[1]
    shares = sizes[:, None] * sizes * (pairs > 0)
    return float((shares * sums / pairs.clamp(min=1)).sum() / shares.sum())


def _members(classes: Int64[Tensor, " n"]) -> Float[Tensor, "n classes"]:
    return torch.nn.functional.one_hot(classes.unique(return_inverse=True)[1]).double()


def _kernel(x: Float[Tensor, "... n d"], y: Float[Tensor, "... m d"]) -> Float[Tensor, "... n m"]:
    return (x @ y.mT).div_(x.shape[-1]).add_(1).pow_(3)


def _kernel_sums(
    a: Float[Tensor, "n d"], of_a: Tensor, b: Float[Tensor, "m d"], of_b: Tensor
) -> Float[Tensor, "classes_a classes_b"]:
    # In blocks, so that 50,000 pictures do not need a 50,000 x 50,000 matrix.
    blocks = zip(a.split(1024), of_a.split(1024), strict=True)
    return sum((of.mT @ _kernel(block, b) @ of_b for block, of in blocks), torch.zeros(()))


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
