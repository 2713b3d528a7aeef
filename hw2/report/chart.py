"""Charts of estimates with their limits, a line a name, in units of their own."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hw2.metrics.intervals import Interval
from hw2.report.sentences import EMPTY, Said, shown

DIGIT = 6.0  # width of a letter of a chart, in its units
WIDTH, HEIGHT = 320.0, 200.0  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 32.0
ASIDE = 6.0  # between the points of two lines at one value: drawn at one place, one hides the other


@dataclass(frozen=True)
class Mark:
    """An estimate at a `value` of the setting, in the chart's units, and as text."""

    value: float
    x: float
    y: float
    low: float
    high: float
    shown: str


@dataclass(frozen=True)
class Chart:
    """Estimates with limits over a setting, a line a name; positions are in the chart's units."""

    title: str  # its key in the texts
    x: str
    lines: tuple[tuple[str, tuple[Mark, ...]], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    zero: float | None = None  # where the line of no difference lies, if in the chart

    @property
    def about(self) -> Said:
        """What it shows, for those who do not see it: all estimates with their limits."""
        shown: tuple[str | Said, ...] = ()
        for name, marks in self.lines:
            texts = tuple(map(self.text, marks))
            shown += (Said("format.named", {"name": name, "value": texts}),) if name else texts
        return Said("alt.chart", {"title": self.title, "x": self.x, "shown": shown})

    def text(self, mark: Mark) -> Said:
        """One of the estimates, with the value of the setting."""
        return Said("format.named", {"name": f"{self.x} = {mark.value:g}", "value": mark.shown})

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The same as a table: rows of a value of the setting and each line's estimate."""
        known = [{mark.value: mark.shown for mark in marks} for _, marks in self.lines]
        values = sorted({value for line in known for value in line})
        return tuple((f"{v:g}", *(line.get(v, EMPTY) for line in known)) for v in values)


def chart(
    title: str,
    x: str,
    at: Sequence[float],
    lines: Mapping[str, Sequence[Interval]],
    spec: str = "",
) -> Chart:
    """A chart of `lines` over the values `at`; estimates that are nan are left out.

    Several lines have their points side by side about the value.
    """
    known = [i for line in lines.values() for i in line if math.isfinite(i.value)]
    ends = [v for i in known for v in (i.value, i.low, i.high) if math.isfinite(v)] or [0.0, 1.0]
    steps = ticks(min(ends), max(ends))
    bottom, top = steps[0], steps[-1]
    left, right = min(at), max(at)

    def across(value: float) -> float:
        share = (value - left) / (right - left) if right > left else 0.5
        return round(LEFT + (0.04 + 0.92 * share) * (WIDTH - LEFT - RIGHT), 2)

    def up(value: float) -> float:
        return round(TOP + (top - value) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 2)

    gaps = [b - a for a, b in itertools.pairwise(sorted(map(across, at)))]
    aside = min([ASIDE, *(gap / (len(lines) + 1) for gap in gaps)])

    def mark(value: float, i: Interval, place: int) -> Mark:
        low, high = (v if math.isfinite(v) else i.value for v in (i.low, i.high))
        x_at = round(across(value) + (place - (len(lines) - 1) / 2) * aside, 2)
        return Mark(value, x_at, up(i.value), up(low), up(high), shown(i, spec))

    drawn = tuple(
        (
            name,
            tuple(
                mark(v, i, place) for v, i in zip(at, line, strict=True) if math.isfinite(i.value)
            ),
        )
        for place, (name, line) in enumerate(lines.items())
    )
    percent = spec.endswith("%")
    y_ticks = [(up(v), f"{100 * v:.6g} %" if percent else f"{v:.6g}") for v in steps]
    return Chart(
        title,
        x,
        drawn,
        tuple(_apart([(across(v), f"{v:g}") for v in at])),
        tuple(y_ticks),
        up(0) if bottom < 0 < top else None,
    )


def _apart(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those labels, from the left, that stand clear of the one before."""
    kept: list[tuple[float, str]] = []
    for place, text in labels:
        if not kept or place - kept[-1][0] > DIGIT * (len(text) + len(kept[-1][1]) + 1) / 2:
            kept.append((place, text))
    return kept


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    raw = span / 4  # about so many steps
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 12 - math.floor(math.log10(step))
    return [round(k * step, digits) for k in range(first, max(last, first + 1) + 1)]
