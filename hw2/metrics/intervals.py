"""Limits of 95 %: of rates, of means, of means of estimates; others are in jackknife.py."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import SupportsFloat

import torch
from torch import Tensor

from hw2.errors import DataError


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits; nan where the data cannot give it.

    `f"{interval:.1%}"` is "96.5 % (95.1-97.6)", `f"{interval:.3f}"` is "0.965 (0.951-0.976)".
    `str(interval)` shows as many decimals as the width of the interval gives sense to, without one
    four digits, of small numbers three decimals.
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or f".{self._decimals()}f"
        percent = spec.endswith("%")
        value, low, high = (
            "n/a" if math.isnan(x) else format(x, f"z{spec}").removesuffix("%")  # z: no -0
            for x in (self.value, self.low, self.high)
        )
        if value == "n/a":
            return value
        dash = " to " if "-" in low + high else "-"  # a minus sign beside a dash misleads
        limits = "n/a" if "n/a" in (low, high) else f"{low}{dash}{high}"
        return f"{value}{' %' if percent else ''} ({limits})"

    def __str__(self) -> str:
        return format(self, "")

    def _decimals(self) -> int:
        width = self.high - self.low
        if not (math.isfinite(width) and width > 0):
            known = self.value and math.isfinite(self.value)
            large = math.floor(math.log10(abs(self.value))) if known else 0
            return min(max(3 - large, 0), 3)
        return min(max(1 - math.floor(math.log10(width)), 0), 9)

    def in_points(self) -> "Interval":
        """A difference of shares, in points: hundred times."""
        return Interval(100 * self.value, 100 * self.low, 100 * self.high)

    @property
    def differs(self) -> bool:
        """Of a difference, whether it is shown: its limits lie on one side of 0."""
        return self.low > 0 or self.high < 0

    def as_difference(self, spec: str) -> str:
        """As text, of a figure shown by `spec`: of shares in points, starred where it `differs`."""
        shown = self.in_points() if spec.endswith("%") else self
        decimals = 1 if spec.endswith("%") else self._decimals()
        if not self.differs:
            return f"{shown:.{decimals}f}"
        nearest = min(abs(shown.low), abs(shown.high))
        while decimals < 9 and round(nearest, decimals) == 0:  # it would seem to hold 0
            decimals += 1
        return f"{shown:.{decimals}f} *"

    def named(self, name: str) -> dict[str, float]:
        """The three numbers as NAME, NAME.low and NAME.high."""
        return {name: self.value, f"{name}.low": self.low, f"{name}.high": self.high}

    def to_json(self) -> dict[str, float | None]:
        """The three numbers, None for one that is not finite (JSON knows no nan)."""
        return {k: v if math.isfinite(v) else None for k, v in vars(self).items()}


UNDEFINED = Interval(math.nan, math.nan, math.nan)


def with_limits(metrics: Mapping[str, SupportsFloat | Interval]) -> dict[str, float]:
    """Plain numbers; an Interval becomes NAME, NAME.low and NAME.high, those that are finite."""
    found: dict[str, float] = {}
    for name, of in metrics.items():
        if isinstance(of, Interval):
            found |= {key: n for key, n in of.named(name).items() if math.isfinite(n)}
        else:
            found[name] = float(of)
    return found


UPPER = 0.975  # the limits' quantile
FEW = 5  # values: of two the resamples' 95 % would hold the truth half the time, of five 92 %
Z = NormalDist().inv_cdf(UPPER)


def normal_interval(value: float, variance: float) -> Interval:
    """value -+ z sqrt(variance), for an estimate whose error is about normal."""
    half = Z * math.sqrt(variance)
    return Interval(value, value - half, value + half)


def student_interval(value: float, parts: Sequence[tuple[float, int]]) -> Interval:
    """value -+ t sqrt(variance), the variance a sum of independent estimates.

    `parts` are these estimates, each with its degrees of freedom; t has those of the sum (Welch
    1947, eq. 28), which is what makes limits from few draws wide enough. A nan makes them nan.
    """
    variance = sum(part for part, _ in parts)
    if not variance > 0:  # nan too
        return Interval(value, value - variance, value + variance)
    freedom = variance**2 / sum(part**2 / df for part, df in parts if part)
    half = _student_quantile(freedom) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


def _student_quantile(freedom: float) -> float:
    """As Z, of Student's t with `freedom` degrees of freedom, more than 0."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, UPPER))


def wilson(
    successes: int, n: int, design_effect: float = 1.0, freedom: float = math.inf
) -> Interval:
    """The share successes / n with Wilson's score interval (Wilson 1927).

    Unlike the normal interval it is not empty at 0/n and n/n, and it stays inside [0, 1]. Trials
    that hang together count for n / design_effect independent ones (Franco et al. 2019); where
    that is an estimate, of so many degrees of `freedom`, Student's quantile replaces the normal.
    Raises DataError unless 0 <= successes <= n and n >= 1.
    """
    if not (0 <= successes <= n and n >= 1):
        raise DataError(f"a rate of {successes} of {n}: need n >= 1 and 0 <= successes <= n")
    z2 = (_student_quantile(freedom) if math.isfinite(freedom) else Z) ** 2
    p, n_eff = successes / n, n / design_effect
    centre = (p + z2 / (2 * n_eff)) / (1 + z2 / n_eff)
    half = math.sqrt(z2 * p * (1 - p) / n_eff + z2 * z2 / (4 * n_eff**2)) / (1 + z2 / n_eff)
    low = 0.0 if successes == 0 else centre - half  # exact, where rounding would leave 1e-17
    high = 1.0 if successes == n else centre + half
    return Interval(p, low, high)


def mean_of_intervals(intervals: Sequence[Interval]) -> Interval:
    """The plain mean of independent estimates, with limits by MOVER (Zou & Donner 2008, eq. 4).

    Each side adds the distances to the limits in quadrature, so that skewed intervals give a
    skewed one, and limits inside [0, 1] one inside [0, 1]. Raises DataError for none.
    """
    if not intervals:
        raise DataError("the mean of no estimates: need at least one")
    k = len(intervals)
    mean = sum(i.value for i in intervals) / k
    below = math.hypot(*(i.value - i.low for i in intervals)) / k
    above = math.hypot(*(i.high - i.value for i in intervals)) / k
    return Interval(mean, mean - below, mean + above)


def bootstrap(values: Tensor, seed: int, num_resamples: int = 10_000) -> Interval:
    """The mean of `values` (n,) with expanded percentile limits (Hesterberg 2015, section 5.3).

    Plain percentiles are too narrow for small samples, by the missing factor n / (n - 1) and by
    normal instead of t quantiles; so the percentiles are moved outwards by both. That does not
    reach far enough where there are at most FEW values, of which the limits are Student's; of one
    they are nan. Of differences in pairs, as of two sets of pictures from the same noises, this is
    the paired interval. Statistics that repeated rows bias (distances between pictures) have no
    such limits: see `jackknife`. Raises DataError for no values.
    """
    check_sizes([values])
    values = values.detach().cpu().double()
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(mean, math.nan, math.nan)
    if n <= FEW:
        return student_interval(mean, [(float(values.var()) / n, n - 1)])
    generator = torch.Generator().manual_seed(seed)
    at_once = max(2**20 // n, 1)  # resamples, in memory
    sizes = [min(at_once, num_resamples - done) for done in range(0, num_resamples, at_once)]
    draws = (torch.randint(n, (size, n), generator=generator) for size in sizes)
    means = torch.cat([values[rows].mean(1) for rows in draws])
    tail = NormalDist().cdf(-_student_quantile(n - 1) * math.sqrt(n / (n - 1)))
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(mean, low, high)


def check_sizes(samples: Sequence[Tensor]) -> None:
    """Raises DataError for no samples, or an empty one."""
    if not samples or min(map(len, samples)) < 1:
        raise DataError(f"samples of {[len(x) for x in samples]} rows: need one or more in each")
