"""Intervals against SciPy and against simulated coverage."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.intervals import (
    UNDEFINED,
    Interval,
    bootstrap,
    mean_of_intervals,
    student_interval,
    wilson,
    with_limits,
)
from hw2.metrics.noise_blocks import INDEPENDENT, Shared


@pytest.mark.parametrize(
    ("k", "n"), [(0, 1), (1, 1), (0, 100), (100, 100), (3, 7), (965, 1000), (7, 10**6)]
)
def test_wilson_is_scipys(k: int, n: int) -> None:
    ours = wilson(k, n)
    theirs = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert ours.value == k / n
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_at_the_ends_is_exact_and_not_empty() -> None:
    none, all_ = wilson(0, 50), wilson(50, 50)
    assert none.low == 0.0 < none.high
    assert all_.high == 1.0 > all_.low
    assert none.high == pytest.approx(1 - all_.low)
    assert {wilson(0, n).low for n in range(1, 100)} == {0.0}
    assert {wilson(n, n).high for n in range(1, 100)} == {1.0}


@pytest.mark.parametrize(("k", "n"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_rate(k: int, n: int) -> None:
    with pytest.raises(DataError, match=f"{k} of {n}"):
        wilson(k, n)


def mean_of_rates(rates: list[tuple[int, int]]) -> Interval:
    return mean_of_intervals([wilson(k, n) for k, n in rates])


def test_mean_of_one_rate_is_its_own_interval() -> None:
    mean, alone = mean_of_rates([(97, 100)]), wilson(97, 100)
    assert vars(mean) == pytest.approx(vars(alone))


def test_mean_of_rates_weighs_rates_alike_and_stays_inside_0_and_1() -> None:
    mean = mean_of_rates([(1000, 1000), (0, 10)])
    assert mean.value == 0.5
    top = mean_of_rates([(100, 100), (100, 100)])
    assert top.high == 1.0
    assert top.low > wilson(100, 100).low  # two sets know more than one
    with pytest.raises(DataError):
        mean_of_intervals([])


def test_mean_of_rates_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    rates, sizes = np.array([0.95, 0.99]), np.array([100, 300])
    hits = 0
    for successes in rng.binomial(sizes, rates, size=(1500, 2)):
        found = mean_of_rates(list(zip(successes.tolist(), sizes.tolist(), strict=True)))
        hits += found.low <= rates.mean() <= found.high
    assert 0.93 < hits / 1500 < 0.98


def test_bootstrap_is_scipys() -> None:
    rng = np.random.default_rng(1)
    x = rng.gamma(2.0, size=50)
    ours = bootstrap(torch.tensor(x), seed=0, num_resamples=4000)
    # The percentiles of a sample of 50, moved outwards.
    tail = stats.norm.cdf(-((50 / 49) ** 0.5) * stats.t(49).ppf(0.975))
    theirs = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=4000,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=rng,
    ).confidence_interval
    assert ours.value == pytest.approx(x.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.04)


def test_percentiles_of_few_rows_are_moved_outwards() -> None:
    x = torch.randn(10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means = x.numpy()[np.random.default_rng(0).integers(0, 10, (200_000, 10))].mean(1)
    tail = stats.norm.cdf(-((10 / 9) ** 0.5) * stats.t(9).ppf(0.975))
    want = np.quantile(means, [tail, 1 - tail])
    found = bootstrap(x, seed=0, num_resamples=20_000)
    assert (found.low, found.high) == pytest.approx(want, abs=0.06 * means.std())


def test_bootstrap_depends_on_the_seed_alone() -> None:
    x = torch.arange(20.0)
    first = bootstrap(x, seed=3, num_resamples=50)
    torch.manual_seed(99)
    assert first == bootstrap(x, seed=3, num_resamples=50)
    assert first != bootstrap(x, seed=4, num_resamples=50)
    with pytest.raises(DataError, match=r"\[0\] rows: need one"):
        bootstrap(x[:0], seed=0)


@pytest.mark.parametrize(("n", "least"), [(2, 0.93), (4, 0.93), (6, 0.88), (10, 0.92)])
def test_bootstrap_covers_the_mean_of_small_samples(n: int, least: float) -> None:
    draw = torch.Generator().manual_seed(n)
    samples = torch.randn(250, n, generator=draw, dtype=torch.float64)
    found = [bootstrap(x, seed=i, num_resamples=200) for i, x in enumerate(samples)]
    hits = sum(one.low <= 0 <= one.high for one in found)
    assert least < hits / len(found) < 0.99


def test_limits_of_few_values_are_student_s() -> None:
    for x in ([1.0, 4.0], [2.0, 3.0, 7.0, 4.0, 4.5]):
        found = bootstrap(torch.tensor(x, dtype=torch.float64), seed=0)
        want = stats.t.interval(0.95, len(x) - 1, np.mean(x), stats.sem(x))
        assert (found.low, found.high) == pytest.approx(want, rel=1e-12)


def test_bootstrap_of_one_row_has_no_limits() -> None:
    found = bootstrap(torch.tensor([2.0]), seed=0)
    assert found.value == 2.0
    assert math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("parts", [[(0.0, 0)], [(0.0, 0), (0.0, 4)]])
def test_what_does_not_vary_has_limits_of_no_width(parts: list[tuple[float, int]]) -> None:
    assert student_interval(2.0, parts) == Interval(2.0, 2.0, 2.0)


def test_a_variance_that_is_not_known_gives_no_limits() -> None:
    found = student_interval(2.0, [(1.0, 4), (math.nan, 1)])
    assert found.value == 2.0
    assert math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_a_rate_of_trials_that_hang_together_covers_the_truth(share: float) -> None:
    """Ten classes of fifty noises; with what they share the plain interval covers 70 %."""
    classes = torch.arange(10).repeat(50)
    random = torch.Generator().manual_seed(0)
    hits, plain = 0, 0
    for _ in range(500):
        common = torch.randn(50, generator=random).repeat_interleave(10)
        own = torch.randn(500, generator=random)
        right = share**0.5 * common + (1 - share) ** 0.5 * own < 1.6449  # 95 %
        shared = Shared.of(right, classes)
        assert shared.freedom == 49
        found = wilson(int(right.sum()), 500, shared.design_effect, shared.freedom)
        hits += found.low <= 0.95 <= found.high
        alone = wilson(int(right.sum()), 500)
        plain += alone.low <= 0.95 <= alone.high
    assert hits / 500 > 0.9
    assert (plain / 500 < 0.8) == (share > 0)


@pytest.mark.parametrize(("noises", "least"), [(5, 0.9), (10, 0.93)])
def test_a_rate_over_few_noises_covers_the_truth(noises: int, least: float) -> None:
    """Ten classes at 80 %, of intraclass correlation 0.3; by normal quantiles 86 and 91 %."""
    rng, classes = np.random.default_rng(0), torch.arange(10).repeat(noises)
    a, hits = 0.7 / 0.3, 0
    for _ in range(600):
        share = rng.beta(0.8 * a, 0.2 * a, noises)
        right = torch.from_numpy((rng.random((noises, 10)) < share[:, None]).ravel())
        shared = Shared.of(right, classes)
        found = wilson(int(right.sum()), len(right), shared.design_effect, shared.freedom)
        hits += found.low <= 0.8 <= found.high
    assert hits / 600 > least


def test_of_classes_of_unequal_sizes_nothing_tells_what_hangs_together() -> None:
    def shared(right: Tensor, *classes: int) -> Shared:
        return Shared.of(right, torch.tensor(classes))

    right = torch.arange(6) < 3
    assert shared(right, 0, 0, 0, 1, 1, 2) == INDEPENDENT
    assert shared(right, *range(6)) == INDEPENDENT
    assert shared(right & ~right, 0, 0, 0, 1, 1, 1) == Shared(1.0, 2)
    together = torch.tensor([True, False, True, False])
    assert shared(right[[0, 3, 0, 3, 0]], 0, 0, 1, 1, 2) == INDEPENDENT
    for classes in ((0, 0, 1, 1), (1, 1, 0, 0)):
        found = shared(together, *classes)
        assert (found.design_effect, found.freedom) == (pytest.approx(4.0), 1)
    assert shared(together, 0, 1, 1, 0) == Shared(1.0, 1)


@pytest.mark.parametrize(
    ("interval", "spec", "text"),
    [
        (Interval(0.965, 0.951, 0.976), ".1%", "96.5 % (95.1-97.6)"),
        (Interval(0.965, 0.951, 0.976), ".2f", "0.96 (0.95-0.98)"),
        (Interval(0.965, 0.951, 0.976), "", "0.965 (0.951-0.976)"),
        (Interval(123.4, 101.2, 145.6), "", "123 (101-146)"),
        (Interval(0.0003, -0.0001, 0.0007), "", "0.00030 (-0.00010 to 0.00070)"),
        (Interval(1.0, 1.0, 1.0), "", "1.000 (1.000-1.000)"),
        (Interval(0.5, math.nan, math.nan), ".1%", "50.0 % (n/a)"),
        (Interval(286.674, math.nan, math.nan), "", "286.7 (n/a)"),
        (Interval(-15916.2, math.nan, math.nan), "", "-15916 (n/a)"),
        (Interval(0.0094, math.nan, math.nan), "", "0.009 (n/a)"),
        (UNDEFINED, "", "n/a"),
    ],
)
def test_an_interval_as_text(interval: Interval, spec: str, text: str) -> None:
    assert format(interval, spec) == text


@pytest.mark.parametrize(
    ("interval", "spec", "text"),
    [
        (Interval(-0.9, -1.7, -0.0348), "", "-0.90 (-1.70 to -0.03) *"),
        (Interval(-0.6, -1.2, 0.0208), "", "-0.6 (-1.2 to 0.0)"),
        (Interval(0.05, 0.0004, 0.1), ".1%", "5.00 (0.04-10.00) *"),
        (Interval(0.05, -0.0004, 0.1), ".1%", "5.0 (0.0-10.0)"),
        (Interval(0.5, 0.00002, 1.0), "", "0.50000 (0.00002-1.00000) *"),
    ],
)
def test_what_is_shown_to_differ_has_no_limit_of_0(
    interval: Interval, spec: str, text: str
) -> None:
    assert interval.as_difference(spec) == text


def test_an_interval_for_json_has_none_for_nan() -> None:
    assert Interval(0.5, math.nan, math.inf).to_json() == {"value": 0.5, "low": None, "high": None}


def test_limits_have_names_beside_their_figure() -> None:
    found = with_limits({"a": Interval(0.5, 0.25, 1), "b": 3, "c": Interval(1, math.nan, math.nan)})
    assert found == {"a": 0.5, "a.low": 0.25, "a.high": 1.0, "b": 3.0, "c": 1.0}
    assert with_limits({"d": UNDEFINED, "e": math.inf}) == {"e": math.inf}


def test_nothing_is_written_as_minus_nothing() -> None:
    assert format(Interval(-0.2, -5.1, 6.0), ".0f") == "0 (-5 to 6)"
    assert str(Interval(-1e-9, -0.0, 0.4)) == "0.00 (0.00-0.40)"
    assert format(Interval(-1e-5, 0, 1), ".1%") == "0.0 % (0.0-100.0)"


def test_limits_of_a_mean_are_the_expanded_percentiles_of_all_resamples() -> None:
    values = np.array([0.0, 1.0, 1.5, 3.0, 4.5, 9.0])
    means = np.array([*itertools.product(values, repeat=6)]).mean(1)
    tail = stats.norm.cdf(-stats.t.ppf(0.975, 5) * math.sqrt(6 / 5))
    found = bootstrap(torch.from_numpy(values), 0, 200_000)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [tail, 1 - tail]))
