"""Charts of measured numbers, drawn by matplotlib."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from PIL import Image

from hw2.figures.fonts import families, wrapped
from hw2.figures.grid import INK, PAPER
from hw2.metrics.intervals import Interval

FAINT = "#d9d9d9"
COLOURS = ("#2b6cb0", "#d9730d", "#2f855a", "#b83280", "#6b46c1", "#718096")
DPI = 110
PANEL_INCHES = {1: (7.0, 4.0), 2: (4.8, 3.5), 3: (4.2, 3.2)}  # by the number of columns


@dataclass(frozen=True)
class Panel:
    """One chart of `panels`: for each name in `lines` an estimate at each value of `at`.

    `zero` is where a level line is drawn, as of no difference.
    """

    title: str
    x: str
    y: str
    at: Sequence[float]
    lines: Mapping[str, Sequence[Interval]]
    zero: float | None = None


def curves(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Image.Image:
    """A chart for each of `keys` over `step`, as logged (faint) and smoothed (bold).

    Smoothed is the mean over a twentieth of the points, centred so that it does not lag, narrower
    near the ends and left out at them. Rows without a key or with a value not finite are passed
    over. An axis is logarithmic where values are positive and their largest is over ten times the
    smallest.
    """
    figure, all_axes = blank_axes(len(keys))
    end = max((row["step"] for row in rows), default=1)
    for axes, key, colour in zip(all_axes, keys, cycle(COLOURS), strict=False):
        dress_axes(axes, key, "step", "")
        axes.set_xlim(-0.02 * end, 1.02 * end)
        axes.xaxis.get_major_locator().set_params(integer=True)
        points = [(row["step"], float(row[key])) for row in rows if row.get(key) is not None]
        points = [point for point in points if math.isfinite(point[1])]
        at, values = [p[0] for p in points], [p[1] for p in points]
        if values and 0 < 10 * min(values) < max(values):
            axes.set_yscale("log")
        few, rough = len(at) < 40, len(at) // 160
        smooth = slice(rough, len(at) - rough)
        axes.plot(at, values, color=colour, alpha=0.25, linewidth=1)
        axes.plot(
            at[smooth], _smoothed(values)[smooth], "o-" if few else "-", ms=3, c=colour, lw=1.8
        )
    return picture_of(figure)


def panels(panels: Sequence[Panel], title: str = "", order: Sequence[str] = ()) -> Image.Image:
    """Small multiples, up to three in a row; a line has one colour in all of them.

    Colours are given out in the `order` of names, then as lines come. Estimates that are nan are
    passed over.
    """
    names = dict.fromkeys((*order, *(name for panel in panels for name in panel.lines)))
    colours = dict(zip(names, cycle(COLOURS), strict=False))
    figure, all_axes = blank_axes(len(panels), title)
    for axes, panel in zip(all_axes, panels, strict=True):
        dress_axes(axes, panel.title, panel.x, panel.y)
        if panel.zero is not None:
            axes.axhline(panel.zero, color=INK, linewidth=0.8)
        for name, intervals in panel.lines.items():
            _line(axes, panel, name, intervals, colours[name])
        if len(panel.lines) > 1:
            axes.legend(facecolor=PAPER, edgecolor="none")  # its names are read over lines too
    return picture_of(figure)


def _line(axes: Any, panel: Panel, name: str, intervals: Sequence[Interval], colour: str) -> None:
    kept = [(a, i) for a, i in zip(panel.at, intervals, strict=True) if math.isfinite(i.value)]
    at, heights = [a for a, _ in kept], [i.value for _, i in kept]
    arms = arms_of([i for _, i in kept])
    shown = arms if any(map(any, arms)) else None  # whiskers of no length would say "exact"
    axes.errorbar(at, heights, shown, c=colour, fmt="o-", ms=4, capsize=3, label=name)


def _smoothed(values: Sequence[float]) -> list[float]:
    sums = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    i = torch.arange(len(values))
    reach = torch.minimum(i, i.flip(0)).clamp(max=len(values) // 40)
    return ((sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1)).tolist()


def arms_of(intervals: Sequence[Interval]) -> list[list[float]]:
    """How far the limits are below and above, as matplotlib's error bars want it."""
    # matplotlib refuses arms below 0, which rounding can leave.
    below = [max(i.value - i.low, 0) for i in intervals]
    return [below, [max(i.high - i.value, 0) for i in intervals]]


def blank_axes(count: int = 1, title: str = "") -> tuple[Any, list[Any]]:
    """A Figure of its own, as pyplot would keep it in a global list, and `count` Axes."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["font.family"] = families()
    rows = math.ceil(count / 3)
    cols = math.ceil(count / rows)
    width, height = PANEL_INCHES[cols]
    size = (cols * width, rows * height)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor=PAPER)
    if title:
        text = _wrapped(title, size[0] - 0.2, 14)
        figure.suptitle(text, x=0.01, ha="left", fontsize=14, color=INK)
    return figure, [figure.add_subplot(rows, cols, i + 1, axisbelow=True) for i in range(count)]


def dress_axes(axes: Any, title: str, x: str, y: str) -> None:
    """Give Axes of `blank_axes` their texts, in lines that fit, and a quiet frame."""
    width, height = PANEL_INCHES[axes.get_gridspec().ncols]
    width, height = width - 1.1, height - 1.2  # what ticks and two lines of names leave
    axes.set_title(_wrapped(title, width, 12), loc="left", fontsize=12, color=INK)
    axes.set_xlabel(_wrapped(x, width, 10))
    axes.set_ylabel(_wrapped(y, height, 10))
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)


def _wrapped(text: str, inches: float, points: int) -> str:
    """`text` in lines that fit: matplotlib would cut them off."""
    return wrapped(text, inches * DPI, round(points * DPI / 72))


def picture_of(figure: Any) -> Image.Image:
    """A Figure as drawn; a sign that no font has is passed over."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # `font` tells it once
        canvas.draw()
    size = canvas.get_width_height()
    return Image.frombytes("RGBA", size, canvas.buffer_rgba()).convert("RGB")
