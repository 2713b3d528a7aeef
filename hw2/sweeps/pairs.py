"""How trials differ from the baseline, on the same noises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hw2.metrics.intervals import Interval, bootstrap
from hw2.metrics.jackknife import Estimate
from hw2.metrics.paired import difference_over_noises
from hw2.sweeps.space import Point, key_of
from hw2.sweeps.trial import TrialResult


@dataclass(frozen=True)
class Difference:
    """A trial's metric less the baseline's over the same `n` noises, with 95 % limits."""

    point: Point
    baseline: Point
    metric: str
    interval: Interval
    n: int

    @property
    def verdict(self) -> str:
        """What the interval shows."""
        if not self.interval.differs:
            return "not shown to differ"
        return "higher" if self.interval.low > 0 else "lower"


def differences(
    trials: Sequence[TrialResult],
    baseline: Mapping[str, Any],
    seed: int,
    shares: Mapping[str, int] | None = None,
) -> list[Difference]:
    """Each trial against the one that has the values `baseline` and is like it in all else.

    Of means over noises the limits are a bootstrap by `seed`, of those that are `shares`, each of
    so many pictures of a noise, `difference_over_noises`; of other statistics they are the
    jackknife's.
    """
    by_key = {key_of(trial.point): trial for trial in trials}
    found = []
    for trial in trials:
        base = by_key.get(key_of(trial.point | dict(baseline)))
        if base is None or base is trial:
            continue
        for metric in trial.outcomes:
            pair = _apart(trial, base, metric, seed, (shares or {}).get(metric))
            if pair is not None:
                found.append(Difference(trial.point, base.point, metric, *pair))
    return found


def _apart(
    trial: TrialResult, base: TrialResult, metric: str, seed: int, pictures: int | None
) -> tuple[Interval, int] | None:
    """The difference, and of how many noises; None where they are not the same in both."""
    ours, theirs = trial.outcomes[metric], base.outcomes.get(metric)
    if theirs is None or ours.shape != theirs.shape or not ours.size:
        return None
    if ours.ndim == 1:
        apart = torch.from_numpy(ours).double() - torch.from_numpy(theirs).double()
        if pictures is None:
            return bootstrap(apart, seed=seed), len(apart)
        return difference_over_noises(apart, pictures), len(apart)
    if trial.samples != base.samples or not np.array_equal(ours[0], theirs[0]):
        return None
    a, b = (
        Estimate.of_table(one.scores[metric].value, torch.from_numpy(one.outcomes[metric]))
        for one in (trial, base)
    )
    return (a - b).interval, trial.samples
