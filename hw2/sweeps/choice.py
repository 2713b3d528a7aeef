"""Which trial is chosen, and how the others differ from the baseline."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hw2.metrics.intervals import Interval, bootstrap
from hw2.metrics.paired import difference_over_noises
from hw2.settings.sweeps import Mode, Rule
from hw2.sweeps.space import Point, key_of
from hw2.sweeps.trial import TrialResult

COST = "network_calls"


def choose(
    trials: Sequence[TrialResult],
    metric: str,
    mode: Mode,
    rule: Rule,
    prefer: Callable[[TrialResult], float] | None = None,
) -> TrialResult | None:
    """The trial that `rule` takes, among those with the most samples and a finite `metric`.

    "best": the best value, of equal ones the one with fewest network calls.
    "cheapest_within_interval": fewest network calls among those whose value lies within the
    interval of the best one, of equally cheap ones the one with the largest finite `prefer`, or
    the best; the cheapest that is not shown to be worse (cf. the one-standard-error rule, Breiman
    et al. 1984, section 3.4.3).
    """
    most = max((trial.samples for trial in trials if not trial.error), default=0)
    known = [
        trial
        for trial in trials
        if trial.samples == most and not trial.error and metric in trial.scores
    ]
    known = [trial for trial in known if math.isfinite(trial.scores[metric].value)]
    if not known:
        return None
    sign = -1 if mode == "max" else 1

    def worth(trial: TrialResult) -> float:
        return sign * trial.scores[metric].value

    def cost(trial: TrialResult) -> float:
        return trial.scores[COST].value if COST in trial.scores else 0.0

    best = min(known, key=lambda trial: (worth(trial), cost(trial)))
    if rule == "best":
        return best
    interval = best.scores[metric]
    worst = sign * (interval.low if mode == "max" else interval.high)
    within = [trial for trial in known if worth(trial) <= worst or trial is best]

    def liked(trial: TrialResult) -> float:
        value = prefer(trial) if prefer else math.nan
        return -value if math.isfinite(value) else math.inf

    return min(within, key=lambda trial: (cost(trial), liked(trial), worth(trial)))


@dataclass(frozen=True)
class Difference:
    """A trial's outcome less the baseline's on the same noises: mean, with 95 % limits."""

    point: Point
    baseline: Point
    metric: str
    interval: Interval
    n: int

    @property
    def verdict(self) -> str:
        """What the interval shows."""
        if self.interval.low > 0:
            return "higher"
        return "lower" if self.interval.high < 0 else "not shown to differ"


def differences(
    trials: Sequence[TrialResult],
    baseline: Mapping[str, Any],
    seed: int,
    shares: Mapping[str, int] | None = None,
) -> list[Difference]:
    """Each trial against the one that has the values `baseline` and is like it in all else.

    `shares` are the outcomes that are shares, each with the number of pictures of a noise that it
    is a share of: their limits are `difference_over_noises`. Those of others are a bootstrap.
    """
    by_key = {key_of(trial.point): trial for trial in trials}
    found = []
    for trial in trials:
        base = by_key.get(key_of(trial.point | dict(baseline)))
        if base is None or base is trial:
            continue
        for metric in trial.outcomes:
            pair = trial.outcomes[metric], base.outcomes.get(metric)
            if pair[1] is None or len(pair[0]) != len(pair[1]) or not len(pair[0]):
                continue
            apart = torch.from_numpy(pair[0]).double() - torch.from_numpy(pair[1]).double()
            if shares and metric in shares:
                interval = difference_over_noises(apart, shares[metric], seed, 2000)
            else:
                interval = bootstrap(apart, seed=seed, num_resamples=2000)
            found.append(Difference(trial.point, base.point, metric, interval, len(apart)))
    return found
