"""Texts beside the points of a chart, where they cover least."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from hw2.figures.grid import PAPER

Point = tuple[float, float]
SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
REACHES = (8, 16, 27, 40)  # pixels between a point and its text
POINT_RADIUS = 6  # pixels


def label_points(
    axes: Any, points: Sequence[Point], texts: Sequence[str], lines: Sequence[Sequence[Point]]
) -> None:
    """Write each text beside its point, at the best of 32 places; the first has the first choice.

    To leave the axes is worst, then to cover a point or another text, then to stand nearer to
    other points; distance and crossing one of `lines` count little. A text that would cover
    another one is left out: neither could be read. Points are in data coordinates, so the limits
    of the axes must not change any more.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()  # only now is it known where the axes are
    frame, to_pixels = axes.get_window_extent(), axes.transData.transform
    strokes = [Path(to_pixels(x)) for x in lines if x and all(map(math.isfinite, sum(x, ())))]
    centres = [to_pixels(point) for point in points]
    marks = [Bbox.from_bounds(x, y, 0, 0).padded(POINT_RADIUS) for x, y in centres]
    written: list[Any] = []

    def cost(box: Any, centre: Any, reach: int) -> float:
        leaves = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
        covered = sum(box.overlaps(other) for other in (*marks, *written))
        own = _distance(box, centre)
        nearer = sum(_distance(box, other) < own for other in centres)
        crossed = sum(stroke.intersects_bbox(box, filled=False) for stroke in strokes)
        return float(1000 * leaves + 100 * covered + 20 * nearer + 2 * crossed + reach)

    for point, centre, text in zip(points, centres, texts, strict=True):
        style = {"textcoords": "offset pixels", "va": "bottom", "zorder": 5}
        label = axes.annotate(text, point, (0, 0), **style)
        label.set_in_layout(False)  # or the axes would shrink and move away under the texts
        label.set_path_effects([withStroke(linewidth=2, foreground=PAPER)])
        size = label.get_window_extent(canvas.get_renderer()).size
        boxes = []
        for reach, side in product(REACHES, SIDES):
            corner = [
                c + d * reach - (1 - d) / 2 * s for c, d, s in zip(centre, side, size, strict=True)
            ]
            boxes.append((Bbox.from_bounds(*corner, *size), centre, reach))
        box, *_ = min(boxes, key=lambda place: cost(*place))
        if any(box.overlaps(other) for other in written):
            label.remove()
            continue
        label.set_position((box.x0 - centre[0], box.y0 - centre[1]))
        written.append(box.padded(1))


def _distance(box: Any, point: Any) -> float:
    """From `point` to the nearest place of `box`."""
    x, y = point
    return math.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0))
