"""Which trial is chosen."""

import math
from pathlib import Path

from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.sweeps.choice import Mode, choose
from hw2.sweeps.trial import Report, TrialResult

NOWHERE = Path("nowhere")


def trial(
    x: float,
    value: float,
    calls: float = 10,
    *,
    half: float = 0.05,
    samples: int = 10,
    error: str = "",
) -> TrialResult:
    y = Interval(value, value - half, value + half)
    scores = {"y": y, "network_calls": Interval(calls, calls, calls)}
    reports = (Report(samples, scores),)
    return TrialResult({"x": x}, NOWHERE, reports, error=error)


def chosen(trials: list[TrialResult], mode: Mode = "max", cheapest: bool = False) -> float | None:
    rule = "cheapest_within_interval" if cheapest else "best"
    found = choose(trials, "y", mode, rule)
    return None if found is None else found.point["x"]


def test_best() -> None:
    trials = [trial(1, 0.90, 50), trial(2, 0.95, 50), trial(3, 0.95, 20), trial(4, 0.91, 5)]
    assert chosen(trials) == 3  # of equal ones the cheaper
    assert chosen(trials, "min") == 1


def test_the_cheapest_within_the_interval() -> None:
    trials = [
        trial(1, 0.95, 50),
        trial(2, 0.91, 20),  # within 0.90 to 1.00
        trial(3, 0.92, 20),
        trial(4, 0.89, 5),  # below
    ]
    assert chosen(trials, cheapest=True) == 3
    errors = [trial(one.point["x"], 1 - one.scores["y"].value, 20) for one in trials]
    assert chosen(errors, "min") == 1
    errors = [trial(1, 0.05, 50), trial(2, 0.09, 20), trial(3, 0.11, 5)]
    assert chosen(errors, "min", cheapest=True) == 2


def test_of_equally_cheap_ones_the_preferred_metric_decides() -> None:
    spreads = {1: 0.3, 2: 0.9, 3: math.nan, 4: 0.5}
    trials = []
    for x, spread in spreads.items():
        one = trial(x, 0.95 - x / 100)
        scores = {**one.scores, "spread": Interval(spread, spread, spread)}
        trials.append(TrialResult(one.point, NOWHERE, (Report(10, scores),)))
    trials.append(trial(5, 0.94))  # without it

    def spread(trial: TrialResult) -> float:
        found = trial.scores.get("spread")
        return found.value - 1 if found else math.nan  # at most 0, as Shown.likeness

    for prefer, want in ((spread, 2), (None, 1)):
        found = choose(trials, "y", "max", "cheapest_within_interval", prefer)
        assert found is not None and found.point["x"] == want


def test_the_limit_itself_lies_within_the_interval() -> None:
    trials = [trial(1, 0.75, 50, half=0.25), trial(2, 0.5, 20, half=0.25)]
    assert chosen(trials, cheapest=True) == 2


def test_an_interval_without_limits_holds_the_best_alone() -> None:
    trials = [trial(1, 0.95, 50, half=math.nan), trial(2, 0.949, 1)]
    assert chosen(trials, cheapest=True) == 1


def test_what_failed_was_stopped_or_is_not_known_is_left_out() -> None:
    known = trial(1, 0.5)
    others = [
        trial(2, 0.9, error="it broke"),
        trial(3, 0.9, samples=5),
        trial(4, math.nan),
        trial(5, math.inf),
        trial(6, 0.9, samples=20, error="it broke with more samples"),
        TrialResult({"x": 7}, NOWHERE),
    ]
    for cheapest in (False, True):
        assert chosen([*others, known], cheapest=cheapest) == 1
        assert chosen([*others, known], "min", cheapest=cheapest) == 1
    assert chosen(others[2:4]) is None
    assert chosen([]) is None
    assert choose([known], "z", "max", "best") is None


def test_without_costs_the_best_is_cheapest() -> None:
    reports = [(Report(5, {"y": Interval(v, v - 1, v + 1)}),) for v in (1.0, 1.5)]
    trials = [TrialResult({"x": i}, NOWHERE, r) for i, r in enumerate(reports)]
    assert chosen(trials, cheapest=True) == 1


def test_nan_scores_survive() -> None:
    assert not math.isfinite(UNDEFINED.value)
    assert chosen([trial(1, math.nan), trial(2, 0.1)], cheapest=True) == 2
