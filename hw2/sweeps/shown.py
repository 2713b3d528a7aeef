"""What a kind of sweep shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hw2.metrics.intervals import Interval
from hw2.sweeps.trial import TrialResult


class Metric(NamedTuple):
    """How a metric is shown: in a figure, at the head of a column, as a number."""

    title: str
    column: str
    spec: str = ""

    def shown(self, interval: Interval) -> str:
        """A value with its limits, alone where it is exact."""
        exact = interval.low == interval.value == interval.high
        return f"{interval.value:g}" if exact else format(interval, self.spec)


@dataclass(frozen=True)
class Shown:
    """What a sweep's table and figures show.

    Attributes:
        metrics: by name.
        front: two metrics that pull apart: of the first 1 is best, of the second most.
        shares: outcomes that are shares, with how many pictures of a noise they are shares of.
    """

    metrics: dict[str, Metric]
    front: tuple[str, str] | None = None
    shares: Mapping[str, int] = field(default_factory=dict)

    def likeness(self, trial: TrialResult) -> float:
        """How near the first metric of the front is to 1, at most 0; nan without it."""
        found = trial.scores.get(self.front[0]) if self.front else None
        return -abs(found.value - 1) if found else math.nan
