"""What sections are made of: tables, sheets, frames of a slider, and the jobs they come from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hw2.metrics.intervals import Interval
from hw2.report.chart import Chart
from hw2.report.outputs import JobOutput
from hw2.report.pictures import Picture
from hw2.report.sentences import Said, in_a_line, shown


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


def number(interval: Interval, spec: str = "") -> Cell:
    """A cell with an estimate and its limits."""
    return Cell(shown(interval, spec), None if math.isnan(interval.value) else interval.value)
