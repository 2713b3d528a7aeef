"""Frechet and kernel distance against SciPy's square root and against double loops."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.frechet import (
    frechet_distance,
    frechet_estimate,
    kernel_distance,
    kernel_estimate,
)


def sets(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    """Two correlated sets of features of different mean and covariance."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=generator) / d**0.5
    a = torch.randn(n, d, generator=generator) @ mix
    return a, torch.randn(m, d, generator=generator) * 1.3 + 0.5


@pytest.mark.parametrize(("n", "m", "d"), [(60, 80, 5), (200, 300, 32), (40, 30, 1)])
def test_frechet_is_that_of_scipys_square_root(n: int, m: int, d: int) -> None:
    a, b = sets(n, m, d)
    x, y = a.double().numpy(), b.double().numpy()
    cov_x, cov_y = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    expected = (
        ((x.mean(0) - y.mean(0)) ** 2).sum()
        + np.trace(cov_x + cov_y)
        - 2 * np.trace(sqrtm(cov_x @ cov_y).real)
    )
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_diagonal_covariances_is_the_closed_form() -> None:
    # The eight corners of a box have a diagonal covariance exactly.
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    s, t, shift = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 0.5]), 5.0
    unbiased = 8 / 7
    expected = 3 * shift**2 + float(((s - t) ** 2).sum()) * unbiased
    assert frechet_distance(corners * s, corners * t + shift) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 100), (100, 5), (20, 20)])
def test_frechet_of_fewer_pictures_than_features_is_sound(n: int, m: int) -> None:
    a, b = sets(n, m, 64)
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert math.isfinite(there) and there > 0
    assert there == pytest.approx(back, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_small_sets_of_a_wide_spread_read_higher_by_frechet_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, real = (
        torch.randn(30, 30, 8, generator=generator),
        torch.randn(900, 8, generator=generator),
    )

    def excess(distance: Callable[[Tensor, Tensor], float], spread: float) -> tuple[float, float]:
        small = [distance(spread * few, real) for few in rows]
        over = np.array(small) - distance(spread * rows.flatten(0, 1), real)
        return over.mean(), over.mean() / over.std(ddof=1) * len(small) ** 0.5

    narrow, wide = (excess(frechet_distance, spread)[0] for spread in (0.7, 1.4))
    assert wide > 2 * narrow > 0.5
    for spread in (0.7, 1.4):
        assert abs(excess(kernel_distance, spread)[1]) < 3


def test_frechet_of_equal_sets_is_not_below_0() -> None:
    for seed in range(20):
        a = torch.randn(50, 8, generator=torch.Generator().manual_seed(seed))
        assert 0 <= frechet_distance(a, a) < 1e-9


def test_both_distances_ignore_order_and_rotation() -> None:
    a, b = sets(50, 70, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    a, b, rotation = a.double(), b.double(), rotation.double()
    for distance in (frechet_distance, kernel_distance):
        plain = distance(a, b)
        assert distance(a.flip(0), b) == pytest.approx(plain, rel=1e-9)
        assert distance(a @ rotation, b @ rotation) == pytest.approx(plain, rel=1e-5)


def test_constant_features_are_at_the_distance_of_their_means() -> None:
    a, b = torch.zeros(5, 3), torch.full((7, 3), 2.0)
    assert frechet_distance(a, b) == pytest.approx(12.0)


def test_kernel_distance_is_the_naive_double_loop() -> None:
    a, b = sets(7, 9, 4)

    def k(x: Tensor, y: Tensor) -> float:
        return (float(x.double() @ y.double()) / 4 + 1) ** 3

    within_a = [k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    within_b = [k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    between = [k(x, y) for x in a for y in b]
    expected = np.mean(within_a) + np.mean(within_b) - 2 * np.mean(between)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_in_blocks_is_that_of_the_whole_matrix() -> None:
    a, b = sets(1500, 1100, 6)  # more rows than a block has
    x, y = a.double().numpy(), b.double().numpy()
    xx, yy, xy = (
        polynomial_kernel(p, q, degree=3, gamma=1 / 6, coef0=1) for p, q in ((x, x), (y, y), (x, y))
    )
    n, m = len(x), len(y)
    expected = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    assert kernel_distance(a, b) == pytest.approx(expected - 2 * xy.mean(), rel=1e-9)


def test_kernel_distance_of_classes_is_the_naive_double_loop_over_pairs_of_two_noises() -> None:
    """Two classes of three noises and one of two in one set, classes of 4 and 5 in the other."""
    a, b = sets(8, 9, 4)
    of_a, of_b = torch.tensor([0, 1, 0, 2, 1, 1, 0, 2]), torch.tensor([7, 7, 7, 7, 9, 9, 9, 9, 9])
    noise = [0, 0, 1, 3, 1, 2, 2, 4]  # 3 and 4: of class 2 alone

    def k(x: Tensor, y: Tensor) -> float:
        return (float(x.double() @ y.double()) / 4 + 1) ** 3

    def within(x: Tensor, classes: list[int], noises: list[int]) -> float:
        total = 0.0
        for one in set(classes):
            for other in set(classes):
                pairs = [
                    k(x[i], x[j])
                    for i in range(len(x))
                    for j in range(len(x))
                    if (classes[i], classes[j]) == (one, other) and noises[i] != noises[j]
                ]
                share = classes.count(one) * classes.count(other) / len(x) ** 2
                total += share * float(np.mean(pairs))
        return total

    between = np.mean([k(x, y) for x in a for y in b])
    expected = within(a, of_a.tolist(), noise) + within(b, of_b.tolist(), [*range(9)])
    found = kernel_distance(a, b, of_a, of_b)
    assert found == pytest.approx(expected - 2 * between, rel=1e-9)


def test_kernel_distance_leaves_out_classes_without_a_pair() -> None:
    a, b = sets(6, 7, 3)
    with_one = torch.tensor([0, 0, 0, 0, 0, 1])
    assert math.isfinite(kernel_distance(a, b, with_one))
    assert math.isnan(kernel_distance(a, b, torch.arange(6)))  # all of one noise


def test_kernel_distance_of_equal_distributions_is_0_in_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [
        kernel_distance(
            torch.randn(20, 4, generator=generator), torch.randn(30, 4, generator=generator)
        )
        for _ in range(400)
    ]
    assert min(found) < 0  # unbiased, so not clamped
    assert abs(np.mean(found)) < 4 * np.std(found) / 20


@pytest.mark.parametrize(
    ("estimate", "distance"),
    [(frechet_estimate, frechet_distance), (kernel_estimate, kernel_distance)],
)
def test_limits_are_as_wide_as_the_distance_varies(estimate, distance) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [
        (torch.randn(100, 6, generator=generator), torch.randn(150, 6, generator=generator) + 0.7)
        for _ in range(120)
    ]
    true_sd = np.std([distance(a, b) for a, b in draws])
    limits = [estimate(a, b).interval for a, b in draws[:30]]
    found_sd = np.mean([(i.high - i.value) / 1.96 for i in limits])
    assert found_sd == pytest.approx(true_sd, rel=0.3)
    assert limits[0] == estimate(*draws[0]).interval
    assert limits[0].value == distance(*draws[0])


def test_frechets_lower_limit_is_not_below_0_and_nan_stays_nan() -> None:
    a = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    assert frechet_estimate(a, a + 0.01).interval.low == 0.0
    few = frechet_estimate(a[:3], a).interval
    assert math.isfinite(few.value) and math.isnan(few.low) and math.isnan(few.high)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_unusable_features_are_refused_with_their_numbers(distance) -> None:
    a, b = sets(6, 8, 3)
    with pytest.raises(DataError, match="of 1 and 8 pictures"):
        distance(a[:1], b)
    b[2, 1] = math.nan
    with pytest.raises(DataError, match="1 of 8 pictures are not finite"):
        distance(a, b)
    # Where shapes are checked (jaxtyping, in tests) that check speaks first, with a TypeError.
    with pytest.raises((DataError, TypeError)):
        distance(a[:, :2], b)
