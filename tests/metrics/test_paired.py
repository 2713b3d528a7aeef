"""Paired tests against exact sums, published examples, closed testing and simulated coverage."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.intervals import wilson
from hw2.metrics.paired import difference_over_noises, holm, mcnemar, paired_difference


def pictures(both: int, only_a: int, only_b: int, neither: int) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([both, only_a, only_b, neither])
    a, b = (torch.tensor(x, dtype=torch.bool) for x in ([1, 1, 0, 0], [1, 0, 1, 0]))
    return a.repeat_interleave(sizes), b.repeat_interleave(sizes)


def exact_p(k: int, n: int) -> float:
    """All outcomes of n fair coins that are no likelier than k heads."""
    ways = [math.comb(n, i) for i in range(n + 1)]
    return float(Fraction(sum(w for w in ways if w <= ways[k]), 2**n))


@pytest.mark.parametrize(
    "table", [(1, 1, 7, 12), (59, 6, 16, 80), (5, 0, 0, 5), (90, 5, 5, 0), (0, 9, 1, 3)]
)
def test_mcnemar_counts_and_sums_exactly(table: tuple[int, int, int, int]) -> None:
    right_a, right_b = pictures(*table)
    found = mcnemar(right_a, right_b)
    _, only_a, only_b, _ = table
    assert (found.only_a, found.only_b, found.n) == (only_a, only_b, sum(table))
    assert found.p_value == pytest.approx(exact_p(only_a, only_a + only_b), rel=1e-12)
    assert found.difference.value == pytest.approx((only_b - only_a) / sum(table))
    back = mcnemar(right_b, right_a)
    assert back.p_value == found.p_value
    assert (back.difference.low, back.difference.high) == pytest.approx(
        (-found.difference.high, -found.difference.low)
    )


def test_mcnemar_of_the_airway_example_is_the_published_one() -> None:
    # Bentur et al. 2009 as in Fagerland, Lydersen & Laake 2013: exact conditional P = 0.0703.
    assert mcnemar(*pictures(1, 1, 7, 12)).p_value == pytest.approx(0.0703, abs=5e-5)


def test_the_difference_of_the_consolidation_example_is_the_published_one() -> None:
    # Cavo et al. 2012 in R's contingencytables: -0.0621 (-0.1186 to -0.0046), first minus second.
    found = paired_difference(both=59, only_a=16, only_b=6, n=161)
    limits = found.value, found.low, found.high
    assert limits == pytest.approx((-0.0621, -0.1186, -0.0046), abs=5e-5)


def test_a_negative_correlation_is_not_corrected() -> None:
    n = 5 + 9 + 14 + 2  # both, only a, only b, neither
    z2 = 1.959963984540054**2

    def wilson_limits(p: float) -> list[float]:
        """Where (p - x)^2 = z^2 x (1 - x) / n."""
        return sorted(np.roots([1 + z2 / n, -2 * p - z2 / n, p * p]).real)

    a, b = 14 / n, 19 / n
    (a_low, a_high), (b_low, b_high) = wilson_limits(a), wilson_limits(b)
    phi = (5 * 2 - 9 * 14) / math.sqrt(14 * 16 * 19 * 11)
    x, y, u, v = b - b_low, a_high - a, b_high - b, a - a_low
    low = b - a - math.sqrt(x * x - 2 * phi * x * y + y * y)
    high = b - a + math.sqrt(u * u - 2 * phi * u * v + v * v)
    found = paired_difference(5, 9, 14, n)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_correlation_within_the_correction_is_none() -> None:
    found, a, b = paired_difference(3, 2, 3, 11), wilson(5, 11), wilson(6, 11)
    below = math.hypot(b.value - b.low, a.high - a.value)
    above = math.hypot(b.high - b.value, a.value - a.low)
    assert (found.low, found.high) == pytest.approx((found.value - below, found.value + above))


@pytest.mark.parametrize("shares", [(0.85, 0.02, 0.06, 0.07), (0.3, 0.2, 0.05, 0.45)])
def test_the_difference_covers_the_truth(shares: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(0)
    truth = shares[2] - shares[1]
    tables = rng.multinomial(150, shares, 600)[:, :3].tolist()
    found = [paired_difference(*table, n=150) for table in tables]
    assert 0.93 < np.mean([i.low <= truth <= i.high for i in found]) < 0.98


def test_a_difference_at_its_ends_stays_inside() -> None:
    best, same = paired_difference(0, 0, 20, 20), paired_difference(20, 0, 0, 20)
    assert best.value == best.high == 1.0 > best.low > 0.7
    assert same.value == 0.0 and -0.25 < same.low < 0 < same.high < 0.25


def test_other_pictures_and_none_are_refused() -> None:
    right_a, right_b = pictures(1, 2, 3, 4)
    with pytest.raises(DataError, match="0 of 0"):
        mcnemar(right_a[:0], right_b[:0])
    # Where shapes are checked (jaxtyping, in tests) that check speaks first, with a TypeError.
    with pytest.raises((DataError, TypeError)):
        mcnemar(right_a[:3], right_b)


def test_holm_is_bonferroni_closed() -> None:
    rng = np.random.default_rng(0)
    for m in (1, 2, 5, 7):
        p = (rng.random(m) ** 3).round(2).tolist()  # with ties
        sets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
        # A hypothesis is rejected if each set that holds it is, by Bonferroni.
        expected = [max(min(len(s) * min(p[j] for j in s), 1) for s in sets if i in s)
                    for i in range(m)]  # fmt: skip
        assert holm(p) == pytest.approx(expected)


def test_holm_keeps_the_order_and_refuses_what_is_no_p_value() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") is 0.03 0.06 0.06 0.02.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(DataError, match=r"p-value 1\.2"):
        holm([0.5, 1.2])
    with pytest.raises(DataError, match="p-value nan"):
        holm([math.nan])


def covered(apart: "list[Tensor]", truth: float) -> float:
    found = [difference_over_noises(one, 20) for one in apart]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


@pytest.mark.parametrize(("share", "least"), [(0.01, 0.97), (0.04, 0.94), (0.2, 0.92)])
def test_a_difference_over_noises_covers_small_shares(share: float, least: float) -> None:
    """Of 50 noises each has one of 20 pictures less with this chance; 300 such draws."""
    rng = np.random.default_rng(0)
    draws = [-torch.from_numpy(rng.random(50) < share).double() / 20 for _ in range(300)]
    assert covered(draws, -share / 20) >= least


@pytest.mark.parametrize("noises", [2, 3, 5, 10, 20])
@pytest.mark.parametrize(
    ("a", "b", "least"), [(0.8, 0.8, 0.93), (0.9, 0.97, 0.9), (0.1, 0.95, 0.89)]
)
def test_a_difference_over_few_noises_covers_the_truth(
    noises: int, a: float, b: float, least: float
) -> None:
    """Accuracies differ from noise to noise: beta distributions of intraclass correlation 0.15."""
    rng, spread = np.random.default_rng(1), (1 - 0.15) / 0.15

    def right(mean: float) -> np.ndarray:
        return rng.binomial(20, rng.beta(mean * spread, (1 - mean) * spread, noises))

    draws = [torch.from_numpy((right(b) - right(a)) / 20) for _ in range(600)]
    assert covered(draws, b - a) >= least


def test_a_difference_over_noises_is_student_s_of_the_noises_and_two_pairs() -> None:
    apart = np.array([0.15, 0.0, 0.05, -0.1, 0.0, 0.25])
    squares = ((apart - apart.mean()) ** 2).sum() + 2 * 0.05**2
    half = stats.t.ppf(0.975, 5) * math.sqrt(squares / 5 / 6)
    found = difference_over_noises(torch.from_numpy(apart), 20)
    limits = apart.mean() - half, apart.mean() + half
    assert (found.low, found.high) == pytest.approx(limits, rel=1e-12)


def test_a_difference_over_noises_at_the_edges() -> None:
    same = difference_over_noises(torch.zeros(50), 20)
    assert same.value == 0 and -0.005 < same.low < 0 < same.high < 0.005
    all_moved = difference_over_noises(torch.ones(10), 20)
    assert 0.9 < all_moved.low < all_moved.value == all_moved.high == 1
    one = difference_over_noises(torch.ones(1), 20)
    assert one.value == 1 and math.isnan(one.low) and math.isnan(one.high)
    with pytest.raises(DataError, match="samples of"):
        difference_over_noises(torch.ones(0), 20)
