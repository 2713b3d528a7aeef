"""Limits of 95 %: of rates, of means of estimates, of any statistic of samples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.noise_blocks import noise_blocks, without_group


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits; nan where the data cannot give it.

    `f"{interval:.1%}"` is "96.5 % (95.1-97.6)", `f"{interval:.3f}"` is "0.965 (0.951-0.976)".
    `str(interval)` shows as many decimals as the width of the interval gives sense to.
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
            return 3
        return min(max(1 - math.floor(math.log10(width)), 0), 9)

    def in_points(self) -> "Interval":
        """A difference of shares, in points: hundred times."""
        return Interval(100 * self.value, 100 * self.low, 100 * self.high)

    def to_json(self) -> dict[str, float | None]:
        """The three numbers, None for one that is not finite (JSON knows no nan)."""
        return {k: v if math.isfinite(v) else None for k, v in vars(self).items()}


UNDEFINED = Interval(math.nan, math.nan, math.nan)


UPPER = 0.975  # the limits' quantile
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


def wilson(successes: int, n: int, design_effect: float = 1.0) -> Interval:
    """The share successes / n with Wilson's score interval (Wilson 1927).

    Unlike the normal interval it is not empty at 0/n and n/n, and it stays inside [0, 1]. Trials
    that hang together count for n / design_effect independent ones (Franco et al. 2019).
    Raises DataError unless 0 <= successes <= n and n >= 1.
    """
    if not (0 <= successes <= n and n >= 1):
        raise DataError(f"a rate of {successes} of {n}: need n >= 1 and 0 <= successes <= n")
    z2 = Z**2
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


def bootstrap(values: Tensor, seed: int, num_resamples: int = 1000) -> Interval:
    """The mean of `values` (n,) with expanded percentile limits (Hesterberg 2015, section 5.3).

    Plain percentiles are too narrow for small samples, by the missing factor n / (n - 1) and by
    normal instead of t quantiles; so the percentiles are moved outwards by both. Of four or five
    values the limits remain somewhat too narrow; of one they are nan. Of differences in pairs, as
    of two sets of pictures from the same noises, this is the paired interval. Statistics that
    repeated rows bias (distances between pictures) have no such limits: see `jackknife`.
    Raises DataError for no values.
    """
    _check_sizes([values])
    if (n := len(values)) == 1:
        return Interval(float(values.mean()), math.nan, math.nan)
    tail = NormalDist().cdf(-_student_quantile(n - 1) * math.sqrt(n / (n - 1)))
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randint(n, (n,), generator=generator) for _ in range(num_resamples))
    means = [float(values[rows.to(values.device)].mean()) for rows in draws]
    limits = torch.tensor(means, dtype=torch.float64).quantile(
        torch.tensor([tail, 1 - tail], dtype=torch.float64)
    )
    return Interval(float(values.mean()), float(limits[0]), float(limits[1]))


def jackknife(
    statistic: Callable[..., float | Tensor],
    *classes: Tensor,
    num_groups: int = 20,
) -> Interval:
    """A statistic of samples with Student's limits by the grouped jackknife (Shao & Tu 1995, 2.3).

    Each sample in turn is left without one of `num_groups` groups of its rows. No row is there
    twice, and only the spread is used, not the mean, so neither repeated rows nor the bias of small
    samples moves the limits, as they would in a bootstrap. Where the statistic is at its minimum
    (equal distributions) the limits are up to 1.5 times wider than need be.

    Args:
        statistic: Of a tensor of rows for each sample.
        classes: Of each sample the classes of its rows, (n_i,): a group has as much of each, and of
            classes of as many rows the same ones (`noise_blocks`).

    With fewer than 4 rows in the largest class of a sample the limits are nan. Raises DataError for
    an empty sample.
    """
    _check_sizes(classes)
    whole = [torch.arange(len(of)) for of in classes]
    value, parts = float(statistic(*whole)), []
    for i, of in enumerate(classes):
        blocks = noise_blocks(of)
        groups = min(num_groups, max(block.shape[1] for block in blocks))
        if groups < 4:
            return Interval(value, math.nan, math.nan)
        left = [without_group(blocks, group, groups) for group in range(groups)]
        values = [float(statistic(*whole[:i], rows, *whole[i + 1 :])) for rows in left]
        spread = torch.tensor(values, dtype=torch.float64).var(correction=0)
        parts.append(((groups - 1) * float(spread), groups - 1))
    return student_interval(value, parts)


def _check_sizes(samples: Sequence[Tensor]) -> None:
    if not samples or min(map(len, samples)) < 1:
        raise DataError(f"samples of {[len(x) for x in samples]} rows: need one or more in each")
