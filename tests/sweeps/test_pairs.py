"""Paired differences of trials, against NumPy and SciPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from hw2.metrics.intervals import Interval
from hw2.metrics.jackknife import Estimate, jackknife
from hw2.metrics.paired import difference_over_noises
from hw2.sweeps.pairs import differences
from hw2.sweeps.trial import Report, TrialResult

NOWHERE = Path("nowhere")


def trial(x: float, outcomes: np.ndarray | None = None) -> TrialResult:
    kept = {} if outcomes is None else {"right": outcomes}
    return TrialResult({"x": x}, NOWHERE, outcomes=kept)


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=60) * 10
    base, better = shared, shared + 0.5 + rng.normal(size=60)
    same = shared + rng.normal(size=60)
    trials = [
        trial(x, outcomes=values.astype(np.float32))
        for x, values in ((0, base), (1, better), (2, same - same.mean() + shared.mean()))
    ]
    up, flat = differences(trials, {"x": 0.0}, seed=0)
    assert (up.point, up.baseline, up.metric, up.n) == ({"x": 1}, {"x": 0}, "right", 60)
    assert up.verdict == "higher"
    assert flat.verdict == "not shown to differ"
    assert up.interval.value == pytest.approx((better - base).mean(), abs=1e-5)
    found = stats.bootstrap(
        ((better - base),), np.mean, n_resamples=5000, method="percentile", rng=1
    ).confidence_interval
    wide = found.high - found.low
    assert up.interval.low == pytest.approx(found.low, abs=0.1 * wide)
    assert up.interval.high == pytest.approx(found.high, abs=0.1 * wide)
    assert stats.ttest_ind(better, base).pvalue > 0.05  # unpaired it would not show

    turned = differences(trials[:2], {"x": 1}, seed=0)
    assert [pair.verdict for pair in turned] == ["lower"]


def test_differences_of_shares_are_not_empty() -> None:
    trials = [trial(x, outcomes=np.ones(50, np.float32)) for x in (0, 1)]
    [plain], [share] = (
        differences(trials, {"x": 0}, 0),
        differences(trials, {"x": 0}, 0, {"right": 20}),
    )
    assert plain.interval == Interval(0, 0, 0)
    assert share.interval == difference_over_noises(torch.zeros(50).double(), 20)


def test_the_seed_decides_the_limits_of_a_mean() -> None:
    trials = [trial(x, outcomes=np.linspace(0, x, 50) ** 2) for x in (0, 1)]
    found = [differences(trials, {"x": 0}, seed)[0].interval for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_equal_outcomes_are_not_shown_to_differ() -> None:
    trials = [trial(x, outcomes=np.ones(20, np.float32)) for x in (0, 1)]
    (pair,) = differences(trials, {"x": 0}, seed=0)
    assert (pair.interval.low, pair.interval.high) == (0, 0)
    assert pair.verdict == "not shown to differ"


def test_what_has_no_partner_is_not_compared() -> None:
    ten, five = np.arange(10.0), np.arange(5.0)
    trials = [trial(0, outcomes=ten), trial(1, outcomes=five), trial(2)]
    assert differences(trials, {"x": 0}, seed=0) == []  # fewer samples, no outcomes
    assert differences(trials, {"x": 2}, seed=0) == []
    assert differences(trials, {}, seed=0) == []
    assert differences(trials, {"x": 8}, seed=0) == []  # no such trial
    assert differences([trial(0, outcomes=ten[:0]), trial(1, outcomes=ten[:0])], {"x": 0}, 0) == []


def test_the_baseline_is_like_the_trial_in_all_else() -> None:
    values = {(w, steps): np.full(8, w * steps) for w in (0.0, 1.0) for steps in (10.0, 20.0)}
    trials = [
        TrialResult({"w": w, "steps": steps}, NOWHERE, outcomes={"right": array})
        for (w, steps), array in values.items()
    ]
    found = {pair.point["steps"]: pair for pair in differences(trials, {"w": 0}, seed=0)}
    assert {steps: pair.interval.value for steps, pair in found.items()} == {10: 10, 20: 20}
    assert all(pair.baseline["steps"] == steps for steps, pair in found.items())


def measured(x: float, estimate: Estimate, samples: int = 12) -> TrialResult:
    report = Report(samples, {"spread": estimate.interval})
    return TrialResult({"x": x}, NOWHERE, (report,), outcomes={"spread": estimate.table().numpy()})


def test_estimates_are_compared_in_pairs_of_the_same_noises() -> None:
    random = torch.Generator().manual_seed(0)
    shared = 10 * torch.randn(12, generator=random, dtype=torch.float64)
    moved = shared + torch.randn(12, generator=random, dtype=torch.float64)
    base, other = (
        jackknife(lambda i, v=v: v[i].mean(), torch.zeros(12, dtype=torch.int64))
        for v in (shared, moved)
    )
    (pair,) = differences([measured(0, base), measured(1, other)], {"x": 0}, seed=0)
    theirs = stats.ttest_rel(moved, shared).confidence_interval(0.95)
    assert (pair.metric, pair.n) == ("spread", 12)
    assert pair.interval.value == pytest.approx(float((moved - shared).mean()))
    found = pair.interval.low, pair.interval.high
    assert found == pytest.approx((theirs.low, theirs.high), rel=1e-9)

    fewer = measured(1, other, samples=11)  # as many groups, of other noises
    assert differences([measured(0, base), fewer], {"x": 0}, seed=0) == []
    halves = Estimate(1.0, other.moves[0].split(6))
    assert differences([measured(0, base), measured(1, halves)], {"x": 0}, seed=0) == []
