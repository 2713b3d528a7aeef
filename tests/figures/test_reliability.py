"""The reliability diagram, read back from its pixels."""

import numpy as np
import pytest

from hw2.figures.charts import COLOURS
from hw2.figures.reliability import reliability_figure
from hw2.metrics.calibration import ReliabilityBin
from hw2.metrics.intervals import Interval, wilson
from tests.figures.test_charts import TITLE, near
from tests.figures.test_gallery import edge_is_paper, runs

ECE = Interval(0.2, 0.1, 0.3)
BARS = "#8ab4d8"


def test_points_stand_at_confidence_and_accuracy_and_bars_at_their_counts() -> None:
    bins = [
        ReliabilityBin(0.2, 0.4, 100, 0.30, wilson(30, 100)),
        ReliabilityBin(0.6, 0.8, 200, 0.70, wilson(140, 200)),
        ReliabilityBin(0.8, 1.0, 400, 0.90, wilson(200, 400)),
    ]
    drawn = reliability_figure(bins, ECE, TITLE)
    assert edge_is_paper(drawn)
    top, counts = np.split(near(drawn, COLOURS[0]), [570]), near(drawn, BARS)
    points = top[0].copy()
    points[:300, :300] = False  # the legend
    centres = []
    for a, b in runs(points.any(0)):
        rows = np.flatnonzero(points[:, (a + b) // 2])
        arms = rows[0], rows[-1]
        widths = points[:, a:b].sum(1)
        body = np.flatnonzero(widths >= 5)
        body = body[(body > arms[0] + 4) & (body < arms[1] - 4)]
        centres.append(((a + b) / 2, body.mean(), arms[1] - arms[0]))
    (x0, y0, long), (x1, y1, _), (x2, y2, _) = centres
    assert (x1 - x0) / (x2 - x0) == pytest.approx(4 / 6, abs=0.01)
    assert (y0 - y2) / (y0 - y1) == pytest.approx(2 / 4, abs=0.03)
    scale = (y0 - y1) / 0.4  # pixels for an accuracy of 1
    assert long == pytest.approx(scale * (bins[0].accuracy.high - bins[0].accuracy.low), abs=4)
    heights = [counts[:, round(x) - 20].sum() for x in (x0, x1, x2)]
    assert heights[1] / heights[0] == pytest.approx(2, rel=0.06)
    assert heights[2] / heights[0] == pytest.approx(4, rel=0.06)
    # The gap is shaded where there is one: from 0.9 to 0.5 in the last bin, nowhere in the first.
    shaded = near(drawn, "#f6dcc3")  # a quarter of the gap's colour on paper
    assert shaded[:, round(x2) - 20].sum() == pytest.approx(0.4 * scale, abs=8)
    assert shaded[:, round(x0) - 20].sum() < 4
