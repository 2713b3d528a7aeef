"""Settings by two qualities that pull apart, such as accuracy and diversity."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from PIL import Image

from hw2.figures.charts import COLOURS, FAINT, arms_of, blank_axes, dress_axes, picture_of
from hw2.figures.grid import PAPER
from hw2.figures.labels import label_points
from hw2.metrics.intervals import Interval

CHOSEN = "#b83280"
MAX_NAMED = 30


@dataclass(frozen=True)
class FrontPoint:
    """A setting, such as "w=2", and the two qualities that were measured at it.

    Points of one `group` share a colour and a line; those of None share a colour alone. `worth` is
    how good the first quality is, where that is not simply higher as it is larger.
    """

    label: str
    x: Interval
    y: Interval
    group: str | None = ""
    worth: float | None = None

    @property
    def place(self) -> tuple[float, float]:
        """Where it is drawn."""
        return self.x.value, self.y.value

    @property
    def qualities(self) -> tuple[float, float]:
        """What is better as it is higher."""
        return self.x.value if self.worth is None else self.worth, self.y.value


def front(
    points: Sequence[FrontPoint],
    title: str = "",
    x: str = "",
    y: str = "",
    best: FrontPoint | None = None,
    order: Sequence[str] = (),
) -> Image.Image:
    """Settings by two qualities, higher being better in both, but for a `worth` of the points.

    Filled are those that no other beats, by being at least as good in both and better in one
    (Pareto's front). `best`, one of `points`, is ringed as the chosen one. Of more than 30 points
    these alone have their labels, as far as there is room for them. Groups have colours in the
    given `order`, then as they come.
    """
    figure, (axes,) = blank_axes()
    dress_axes(axes, title, x, y)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.margins(0.12)  # room for the labels of the outermost points
    points = sorted(points, key=lambda p: (p.x.value, -p.y.value))
    beaten = {p for p in points if _beaten(p, points)}
    groups = dict.fromkeys((*order, *(p.group for p in points)))
    lines = []
    for name, colour in zip(groups, cycle(COLOURS), strict=False):
        if not (own := [p for p in points if p.group == name]):
            continue
        if name is not None:
            lines.append([p.place for p in own])
            at, heights = zip(*lines[-1], strict=True)
            axes.plot(at, heights, color=colour, lw=1.2, zorder=2, label=name or None)
        for kind, filled in ((False, colour), (True, PAPER)):
            rows = [p for p in own if (p in beaten) is kind]
            if rows:
                at, heights = zip(*(p.place for p in rows), strict=True)
                arms = arms_of([p.y for p in rows]), arms_of([p.x for p in rows])
                style = {"ms": 6, "elinewidth": 0.9, "capsize": 2, "mfc": filled}
                axes.errorbar(at, heights, *arms, fmt="o", c=colour, zorder=3, **style)
    if beaten:
        hollow = {"facecolors": PAPER, "edgecolors": COLOURS[-1]}
        axes.scatter([], [], s=36, label="beaten by another", **hollow)
    if best is not None:
        ring = {"facecolors": "none", "edgecolors": CHOSEN, "linewidths": 2}
        axes.scatter(*best.place, s=170, zorder=4, label="chosen", **ring)
    if axes.get_legend_handles_labels()[1]:
        _legend_below(figure)
    few = len(points) <= MAX_NAMED
    named = [p for p in points if few or p not in beaten or p == best]
    named.sort(key=lambda p: p != best)  # it has the first choice of places
    lines += [[(p.x.low, p.y.value), (p.x.high, p.y.value)] for p in named]
    lines += [[(p.x.value, p.y.low), (p.x.value, p.y.high)] for p in named]
    label_points(axes, [p.place for p in named], [p.label for p in named], lines)
    return picture_of(figure)


def _legend_below(figure: Any) -> None:
    """A legend below the axes, where it covers no point and no label, in the columns that fit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in (4, 3, 2, 1):
        legend = figure.legend(loc="outside lower center", ncols=columns, frameon=False)
        if columns == 1 or legend.get_window_extent(renderer).width <= figure.bbox.width:
            return
        legend.remove()


def _beaten(point: FrontPoint, points: Sequence[FrontPoint]) -> bool:
    x, y = point.qualities
    return any(q != (x, y) and q[0] >= x and q[1] >= y for q in (p.qualities for p in points))
