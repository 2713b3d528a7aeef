"""Labels of points that are close together, and text in lines."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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


def test_wrapped_text_fits_and_loses_no_letter() -> None:
    text = "WWWWW of a TITLE with a_word_that_is_longer_than_the_whole_line and more"
    lines = wrapped(text, 120, 12).splitlines()
    assert len(lines) > 3 and all(font(12).getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("short", 120, 12) == "short" and wrapped("", 120, 12) == ""
