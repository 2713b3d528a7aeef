"""Sentences that numbers chose, and numbers and settings as text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hw2.metrics.intervals import Interval

EMPTY = "\u2013"  # where there is no number
TO = " \u2026 "  # between limits: a dash beside a minus sign misleads


@dataclass(frozen=True)
class Said:
    """A sentence: its key in the texts, chosen by the numbers, and the numbers that it quotes.

    A value may be a key in the texts itself, a sentence, or several of these that are listed.
    """

    key: str
    values: "Mapping[str, str | Said | tuple[str | Said, ...]]" = field(default_factory=dict)


def in_a_line(value: Any) -> str:
    """A setting in one line."""
    if isinstance(value, list):
        return ", ".join(map(in_a_line, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {in_a_line(v)}" for k, v in value.items() if v is not None)
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(interval: Interval, spec: str = "") -> str:
    """An estimate with its limits, in signs of no language; a number alone if that is exact."""
    if interval.low == interval.value == interval.high and not spec:
        return f"{interval.value:g}"
    return format(interval, spec).replace(" to ", TO).replace("n/a", EMPTY)


def points(interval: Interval) -> str:
    """A difference of shares in points."""
    of = interval.in_points()
    limits = f"{of.low:z.1f}{TO}{of.high:z.1f}" if math.isfinite(of.low + of.high) else EMPTY
    return f"{of.value:+z.1f} ({limits})"


def negated(interval: Interval) -> Interval:
    """The same difference, taken the other way round."""
    return Interval(0 - interval.value, 0 - interval.high, 0 - interval.low)


def size(interval: Interval) -> str:
    """A difference in points without its sign, for a sentence that says which is more."""
    return points(negated(interval) if interval.value < 0 else interval).removeprefix("+")


def trend(first: Interval, last: Interval, apart: Interval | None = None) -> str:
    """How the last estimate stands to the first: rises, falls, or same, as far as limits show.

    `apart` is their difference in pairs; without it limits that overlap show none.
    """
    apart = apart or Interval(math.nan, last.low - first.high, last.high - first.low)
    if apart.low > 0:
        return "rises"
    return "falls" if apart.high < 0 else "same"


def in_pairs(apart: Interval | None, spec: str = "") -> str | Said:
    """What a sentence adds of a difference in pairs, of a figure shown by `spec`; "" of none."""
    if apart is None:
        return ""
    if spec.endswith("%"):
        return Said("format.points_apart", {"value": points(apart)})
    return Said("format.apart", {"value": shown(apart)})
