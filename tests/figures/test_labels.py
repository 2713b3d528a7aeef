"""Labels of points that are close together, and text in lines."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from hw2.figures.fonts import font, wrapped
from hw2.figures.labels import label_points

CLOSE = [(0.9, 0.9), (0.91, 0.89), (0.92, 0.88), (0.92, 0.85), (0.5, 0.95), (1.0, 0.0), (0.0, 1.0)]


@pytest.mark.parametrize("points", [CLOSE, [(0.5, 0.5)] * 6])
def test_labels_keep_off_one_another_and_inside(points: list[tuple[float, float]]) -> None:
    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), "o")
    label_points(axes, points, [f"w={i / 2}" for i in range(len(points))], [points, []])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    assert len(boxes) == len(points)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    frame = axes.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)
    assert all(frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in boxes)
    centres = axes.transData.transform(points)
    assert not any(box.contains(*centre) for box in boxes for centre in centres)


def test_a_text_that_would_cover_another_is_left_out_and_the_first_stays() -> None:
    figure = Figure(figsize=(7, 4), dpi=110)
    axes = figure.add_subplot(xlim=(-10, 10), ylim=(-10, 10))
    points = [(i / 50, -i / 50) for i in range(60)]
    label_points(axes, points, [f"w={i}, eta=0.5" for i in range(60)], [])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert 5 <= len(boxes) < 60 and axes.texts[0].get_text() == "w=0, eta=0.5"


def placed(points: list[tuple[float, float]], *lines: list[tuple[float, float]]) -> list[Bbox]:
    """Where labels of points come to lie, all in pixels."""
    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 400), ylim=(0, 300))
    label_points(axes, points, ["w=1"] * len(points), lines)
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [text.get_window_extent(renderer) for text in axes.texts]


def test_a_label_is_nearest_to_its_own_point() -> None:
    point = (200, 150)
    (alone,) = placed([point])
    assert (alone.x0, alone.y0) == pytest.approx((208, 158), abs=1)
    for other in ((alone.x1 + 8, alone.y0 + 3), (alone.x0 + 9, alone.y1 + 8)):
        points = [point, other]
        for own, box in enumerate(placed(points)):
            nearest = [np.clip(at, box.min, box.max) for at in points]
            away = [float(np.hypot(*(at - near))) for at, near in zip(points, nearest, strict=True)]
            assert away[own] < away[1 - own]


def test_a_label_keeps_off_a_line() -> None:
    line = [(200.0, 150.0), (350.0, 300.0)]
    (box,) = placed(line[:1], line)
    assert not Path(line).intersects_bbox(box, filled=False)


def test_wrapped_text_fits_and_loses_no_letter() -> None:
    text = "WWWWW of a TITLE with a_word_that_is_longer_than_the_whole_line and more"
    lines = wrapped(text, 120, 12).splitlines()
    assert len(lines) > 3 and all(font(12).getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(font(12).getlength(line) <= 40 for line in wrapped(text, 40, 12).splitlines())
    assert wrapped("short", 120, 12) == "short" and wrapped("", 120, 12) == ""
