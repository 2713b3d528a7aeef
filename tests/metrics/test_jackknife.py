"""The jackknife against SciPy, against simulated coverage, and of differences in pairs."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from hw2.errors import DataError
from hw2.metrics.diversity import relative_diversity
from hw2.metrics.frechet import frechet_distance, frechet_estimate
from hw2.metrics.intervals import Interval
from hw2.metrics.jackknife import Estimate, interval_of, jackknife


def test_the_jackknife_of_a_difference_of_means_is_welchs() -> None:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, generator=random, dtype=torch.float64) for n in (6, 9))
    found = jackknife(
        lambda i, j: x[i].mean() - 3 * y[j].mean(),
        *(torch.zeros(n, dtype=torch.int64) for n in (6, 9)),
    ).interval
    theirs = stats.ttest_ind(x, 3 * y, equal_var=False).confidence_interval(0.95)
    assert found.value == pytest.approx(float(x.mean() - 3 * y.mean()))
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_of_few_groups_the_jackknife_covers_what_they_can_tell() -> None:
    """Normal limits of five groups would cover 88 %."""
    random = torch.Generator().manual_seed(0)
    hits = 0
    for x in torch.randn(1000, 20, generator=random, dtype=torch.float64):
        found = jackknife(
            lambda i, x=x: x[i].mean(), torch.zeros(20, dtype=torch.int64), num_groups=5
        ).interval
        of_groups = stats.ttest_1samp(x.view(4, 5).mean(0), 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((of_groups.low, of_groups.high))
        hits += found.low <= 0 <= found.high
    assert 0.93 < hits / 1000 < 0.97


def test_groups_of_the_jackknife_have_as_much_of_each_class() -> None:
    classes = torch.arange(5).repeat_interleave(40)
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    x = torch.randn(200, generator=torch.Generator().manual_seed(1)).double()
    far = 1000.0 * classes[rows] + x
    found = [jackknife(lambda i, v=v: v[i].mean(), classes[rows]).interval for v in (x, far)]
    assert found[1].high - found[1].value == pytest.approx(found[0].high - found[0].value)


def test_the_jackknife_of_too_few_rows_has_no_limits() -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    found = jackknife(lambda i: x[i].mean(), torch.zeros(3, dtype=torch.int64)).interval
    assert found.value == 2.0
    assert math.isnan(found.low) and math.isnan(found.high)
    with pytest.raises(DataError, match=r"\[0\] rows"):
        jackknife(lambda i: 0.0, torch.zeros(0, dtype=torch.int64))


def ones(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.int64)


def test_a_difference_of_means_is_students_of_pairs() -> None:
    random = torch.Generator().manual_seed(0)
    shared = 10 * torch.randn(12, generator=random, dtype=torch.float64)
    x = shared + torch.randn(12, generator=random, dtype=torch.float64)
    a, b = (jackknife(lambda i, v=v: v[i].mean(), ones(12)) for v in (x, shared))
    found = (a - b).interval
    theirs = stats.ttest_rel(x, shared).confidence_interval(0.95)
    assert found.value == pytest.approx(float((x - shared).mean()))
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_a_difference_is_the_jackknife_of_the_difference() -> None:
    """Of the same rows of both, and of the same real ones."""
    random = torch.Generator().manual_seed(0)
    a, noise, real = (torch.randn(n, 4, generator=random) for n in (60, 60, 90))
    b = a + 0.3 * noise + 0.2
    together = jackknife(
        lambda i, j: frechet_distance(b[i], real[j]) - frechet_distance(a[i], real[j]),
        *(ones(n) for n in (60, 90)),
    ).interval
    apart = (frechet_estimate(b, real) - frechet_estimate(a, real)).interval
    assert vars(apart) == pytest.approx(vars(together), rel=1e-9)


@pytest.mark.parametrize("kind", ["frechet", "diversity"])
def test_differences_in_pairs_cover_the_truth_and_are_narrower(kind: str) -> None:
    """Twenty noises of five classes; both are as far from the real ones, and nearly alike."""
    random = torch.Generator().manual_seed(0)
    classes, real_classes = torch.arange(5).repeat(20), torch.arange(5).repeat(40)

    def estimate(x: torch.Tensor, real: torch.Tensor) -> Estimate:
        if kind == "frechet":
            return frechet_estimate(x, real, (classes, real_classes))
        return relative_diversity(x, classes, real, real_classes)

    hits, widths = 0, []
    for _ in range(150):
        noise = torch.randn(20, 3, generator=random).repeat_interleave(5, 0)
        common = 0.6 * noise + 0.8 * torch.randn(100, 3, generator=random)
        x, y = (
            0.95 * common + (1 - 0.95**2) ** 0.5 * torch.randn(100, 3, generator=random)
            for _ in range(2)
        )
        real = torch.randn(200, 3, generator=random) + 1
        a, b = estimate(x, real), estimate(y, real)
        found, alone = (a - b).interval, a.interval
        hits += found.low <= 0 <= found.high
        widths.append((found.high - found.low) / (alone.high - alone.low))
    assert 0.91 < hits / 150 <= 0.99
    assert np.median(widths) < 0.6  # of two independent estimates it would be 1.4


def test_a_lower_bound_is_that_of_the_estimate_not_of_a_difference() -> None:
    a = jackknife(lambda i: i.double().mean(), ones(5), least=1.9)
    assert a.interval.low == 1.9 < a.interval.value < a.interval.high
    less = (a - Estimate(3.0, (torch.zeros(5, dtype=torch.float64),), least=0.0)).interval
    assert less.value == -1 and less.low < -2


def test_other_groups_are_no_pairs() -> None:
    five, six = (jackknife(lambda i: i.double().mean(), ones(n)) for n in (5, 6))
    with pytest.raises(DataError, match=r"of \(5,\) and \(6,\) groups: no pairs"):
        five - six
    with pytest.raises(DataError, match="no pairs"):
        five - Estimate(1.0, ())


def test_its_table_makes_it_again() -> None:
    moves = tuple(torch.arange(n, dtype=torch.float64) ** 2 for n in (4, 7, 4))
    a = Estimate(1.5, moves)
    table = a.table()
    assert table.shape == (2, 15) and table[0].tolist() == [0] * 4 + [1] * 7 + [2] * 4
    b = Estimate.of_table(1.5, table)
    assert [m.tolist() for m in b.moves] == [m.tolist() for m in moves]
    assert b.interval == a.interval == interval_of(a)
    assert interval_of(Interval(1, 0, 2)) == Interval(1, 0, 2)


@pytest.mark.parametrize("moves", [(), (1.0,), (math.nan, 1.0)])
def test_what_too_few_groups_moved_has_no_limits(moves: tuple[float, ...]) -> None:
    known = torch.tensor([1.0, -1.0], dtype=torch.float64)
    found = Estimate(2.0, (known, torch.tensor(moves, dtype=torch.float64))).interval
    assert found.value == 2.0 and math.isnan(found.low) and math.isnan(found.high)


def test_one_empty_sample_is_refused() -> None:
    with pytest.raises(DataError, match=r"samples of \[5, 0\] rows: need one or more in each"):
        jackknife(lambda i, j: i.double().mean() - j.double().mean(), ones(5), ones(0))


def test_there_are_as_many_groups_as_the_largest_class_has_rows() -> None:
    classes = torch.tensor([0] * 3 + [1] * 10)
    found = jackknife(lambda i: i.double().mean(), classes)
    assert [len(moves) for moves in found.moves] == [10]
    assert found.interval.low < found.value < found.interval.high
