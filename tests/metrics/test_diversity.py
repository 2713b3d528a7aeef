"""Diversity against scipy's distances and against a jackknife by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import pdist

from hw2.metrics.diversity import pairwise_distance, relative_diversity
from hw2.metrics.intervals import Interval


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d"), [(3, 1), (10, 4), (60, 200)])
def test_mean_and_moves_are_those_of_a_jackknife_by_hand(n: int, d: int) -> None:
    x = normal(n, d, 0)
    rows = x.double().numpy()
    without = np.array([pdist(np.delete(rows, i, 0)).mean() for i in range(n)])
    found = pairwise_distance(x)
    assert found.value == pytest.approx(pdist(rows).mean(), rel=1e-6)
    np.testing.assert_allclose(found.moves[0], without - without.mean(), rtol=1e-4, atol=1e-9)


def test_a_single_picture_has_no_distance_and_two_no_limits() -> None:
    for n in (0, 1):
        assert math.isnan(pairwise_distance(torch.ones(n, 3)).value)
    found = pairwise_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).interval
    assert found.value == 5.0
    assert math.isnan(found.low) and math.isnan(found.high)


def test_only_pairs_of_the_same_class_count() -> None:
    # Two classes a million apart, of pictures at distance 1 and 3; real ones at distance 1.
    x = torch.tensor([[0.0], [1.0], [1e6], [1e6 + 3]])
    real = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    digits = torch.tensor([4, 4, 7, 7])
    assert relative_diversity(x, digits, real, digits).value == pytest.approx(2.0)


def test_a_class_of_one_picture_is_left_out_and_none_left_is_nan() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    digits = torch.tensor([0, 0, 0, 1])
    assert math.isnan(relative_diversity(x[2:], digits[2:], x, digits).value)
    assert relative_diversity(x, digits, x, digits).value == 1.0
    assert relative_diversity(x, digits, x[:3], digits[:3]).value == 1.0  # of 1 no real one at all


def test_limits_of_the_ratio_do_not_reach_below_0() -> None:
    generated, classes = normal(5, 4, 0), torch.zeros(5, dtype=torch.int64)
    generated[0] += 100  # a picture unlike all others
    real = normal(5, 4, 1)
    found = relative_diversity(generated, classes, real, classes)
    moved = (found - relative_diversity(normal(5, 4, 2), classes, real, classes)).interval
    assert found.interval.low == 0 < found.value < found.interval.high
    assert moved.low < 0  # a difference may


def test_relative_diversity_does_not_depend_on_the_unit() -> None:
    a, b, digits = normal(40, 6, 0), normal(40, 6, 1), torch.arange(40) % 4
    plain = relative_diversity(a, digits, b, digits)
    scaled = relative_diversity(a * 255, digits, b * 255, digits)
    assert vars(scaled.interval) == pytest.approx(vars(plain.interval), rel=1e-6)


def test_equal_distributions_of_unequal_sizes_have_ratio_1_within_the_limits() -> None:
    found = [
        relative_diversity(
            normal(50, 8, 2 * i),
            torch.arange(50) % 5,
            normal(200, 8, 2 * i + 1),
            torch.arange(200) % 5,
        ).interval
        for i in range(200)
    ]
    assert np.mean([i.value for i in found]) == pytest.approx(1, abs=0.01)
    assert 0.9 < np.mean([i.low <= 1 <= i.high for i in found]) < 0.99


def drawn(share: float, seed: int, n: int = 20) -> torch.Tensor:
    """Ten classes of `n` rows in turns; the i-th of all share `share` of their variance."""
    common = normal(n, 8, seed).repeat_interleave(10, 0)
    return share**0.5 * common + (1 - share) ** 0.5 * normal(10 * n, 8, seed + 1)


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_limits_hold_whether_classes_share_their_noise_or_not(share: float) -> None:
    digits, real_digits = torch.arange(200) % 10, torch.arange(2000) % 10
    found = [
        relative_diversity(
            drawn(share, 3 * i), digits, normal(2000, 8, 3 * i + 2), real_digits
        ).interval
        for i in range(400)
    ]
    true = np.std([i.value for i in found])
    t = stats.t(19).ppf(0.975)  # twenty noises, beside which the real pictures hardly vary
    told = np.sqrt(np.mean([((i.high - i.low) / 2 / t) ** 2 for i in found]))
    assert told == pytest.approx(true, rel=0.15)  # of independent classes it is 0.38 of it
    assert 0.9 < np.mean([i.low <= 1 <= i.high for i in found]) < 0.99


def mean_and_variance(rows: np.ndarray) -> tuple[float, float]:
    """The jackknife's, each row left out in turn."""
    n = len(rows)
    without = np.array([pdist(np.delete(rows, i, 0)).mean() for i in range(n)])
    return pdist(rows).mean(), (n - 1) * without.var()


def independent(x: torch.Tensor, digits: torch.Tensor, real: torch.Tensor) -> float:
    """Half the width of the limits, had each of ten classes noises of its own."""
    variances, freedoms = [], []
    for digit in range(10):
        (top, of_top), (below, of_below) = (
            mean_and_variance(of[digits == digit].double().numpy()) for of in (x, real)
        )
        variances += [of_top / below**2, (top / below) ** 2 * of_below / below**2]
        freedoms += 2 * [int((digits == digit).sum()) - 1]
    terms, variance = np.array(variances), sum(variances)
    freedom = variance**2 / (terms**2 / np.array(freedoms)).sum()  # Satterthwaite's
    return stats.t(freedom).ppf(0.975) * math.sqrt(variance) / 10


def test_limits_without_shared_noise_are_those_of_independent_classes() -> None:
    digits = torch.arange(500) % 10
    ratios = []
    for i in range(20):
        x, real = drawn(0, 3 * i, 50), normal(500, 8, 3 * i + 2)
        found = relative_diversity(x, digits, real, digits).interval
        ratios.append((found.high - found.value) / independent(x, digits, real))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)

    digits = torch.arange(10).repeat_interleave(torch.arange(10, 20))  # nothing tells what is i-th
    x, real = normal(len(digits), 8, 0), normal(len(digits), 8, 1)
    found = relative_diversity(x, digits, real, digits).interval
    assert found.high - found.value == pytest.approx(independent(x, digits, real), rel=1e-5)


def test_collapse_reads_0_and_half_the_spread_one_half() -> None:
    real, digits = normal(100, 8, 0), torch.arange(100) % 5
    assert relative_diversity(torch.ones(20, 8), digits[:20], real, digits).value == pytest.approx(
        0
    )
    assert relative_diversity(real / 2, digits, real, digits).value == pytest.approx(0.5, rel=1e-6)


def test_a_class_whose_real_pictures_are_all_alike_gives_no_ratio() -> None:
    for n in (10, 400):  # torch.cdist takes another way above 25 rows
        digits, real = torch.arange(n) % 2, normal(1, 300, 1).expand(n, 300)
        assert math.isnan(relative_diversity(normal(n, 300, 0), digits, real, digits).value)
        assert pairwise_distance(real).interval == Interval(0, 0, 0)
