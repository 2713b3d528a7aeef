"""Which trials can be compared, and which is chosen."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from hw2.metrics.intervals import UNDEFINED
from hw2.settings.sweeps import Mode, Rule
from hw2.sweeps.trial import TrialResult

COST = "network_calls"


@runtime_checkable
class Scored(Protocol):
    """A trial, wherever it is told of."""

    @property
    def samples(self) -> int: ...


S = TypeVar("S", bound=Scored)


def with_most_samples(trials: Sequence[S]) -> list[S]:
    """Those that are of the most noises, which can be compared: of fewer, distances are larger."""
    most = max((trial.samples for trial in trials), default=0)
    return [trial for trial in trials if trial.samples == most]


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
    the best (cf. the one-standard-error rule, Breiman et al. 1984, section 3.4.3). In pairs, whose
    limits are narrower, it can be shown to be worse than the best all the same.
    """
    whole = with_most_samples([trial for trial in trials if not trial.error])
    known = [t for t in whole if math.isfinite(t.scores.get(metric, UNDEFINED).value)]
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
