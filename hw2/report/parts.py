"""What sections are made of: sentences that numbers chose, tables, charts, frames of a slider."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hw2.metrics.intervals import Interval
from hw2.report.outputs import JobOutput
from hw2.report.pictures import Picture

EMPTY = "\u2013"  # where there is no number
TO = " \u2026 "  # between limits: a dash beside a minus sign misleads
DIGIT = 6.0  # width of a letter of a chart, in its units
WIDTH, HEIGHT = 320.0, 200.0  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 32.0
ASIDE = 6.0  # between the points of two lines at one value: drawn at one place, one hides the other


@dataclass(frozen=True)
class Said:
    """A sentence: its key in the texts, chosen by the numbers, and the numbers that it quotes.

    A value may be a key in the texts itself, a sentence, or several of these that are listed.
    """

    key: str
    values: "Mapping[str, str | Said | tuple[str | Said, ...]]" = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A cell of a table, with a text from outside or a sentence of ours.

    `order` is what a sorted column goes by, the text if None.
    """

    text: str | Said
    order: float | None = None


@dataclass(frozen=True)
class Table:
    """Columns by their key in the texts, and rows of as many cells; `foot` stays below them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[tuple[Cell, ...], ...] = ()


@dataclass(frozen=True)
class Grid:
    """Pictures in rows and columns as one picture, with labels, and a text that describes it."""

    picture: Picture
    about: Said
    rows: tuple[str | Said, ...] = ()
    cols: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Frame:
    """What a slider shows at one of its places."""

    label: str
    grids: tuple[Grid, ...]
    scores: tuple[tuple[str | Said, str], ...]  # what, by its key in the texts; number


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


@dataclass(frozen=True)
class Sources:
    """The jobs that a figure is made of, their seeds, and the settings that it shows."""

    jobs: tuple[JobOutput, ...]
    seeds: tuple[int, ...]
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Slider:
    """A sweep over one setting, a frame a trial, with curves and what they show."""

    source: Sources
    frames: tuple[Frame, ...]
    start: int
    charts: tuple[Chart, ...]
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Missing:
    """A part that could not be made: the step that failed, why, and what to run."""

    step: str
    error: str
    command: str


def sources(*jobs: JobOutput, keys: Sequence[str]) -> Sources:
    """Those `keys` of the first job's settings that name something, and the seeds of all."""
    config = {**jobs[0].config, "precision": jobs[0].precision}
    told = [(key, in_a_line(config[key])) for key in keys if config.get(key) is not None]
    return Sources(jobs, tuple(job.seed for job in jobs), tuple(told))


def in_a_line(value: Any) -> str:
    """A setting in one line."""
    if isinstance(value, list):
        return ", ".join(map(in_a_line, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {in_a_line(v)}" for k, v in value.items() if v is not None)
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def number(interval: Interval, spec: str = "") -> Cell:
    """A cell with an estimate and its limits."""
    return Cell(shown(interval, spec), None if math.isnan(interval.value) else interval.value)


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
