"""Charts: what is drawn is read back from the pixels."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hw2.figures.charts import (
    COLOURS,
    DPI,
    PANEL_INCHES,
    Panel,
    _smoothed,
    arms_of,
    curves,
    panels,
    picture_of,
)
from hw2.figures.grid import INK
from hw2.metrics.intervals import UNDEFINED, Interval, wilson

FOUND = [wilson(5, 10), wilson(8, 10), wilson(10, 10)]
TITLE = "Accuracy of the judge on OFFLINE DIGITS over guidance, 1000 pictures a point, "
TITLE += "asset:digits/with/a/name/that/has/no/blank/and/so/cannot/be/broken/in/two"
X, Y = "guidance weight of the drawn pictures, as the course writes it", "share judged to be right"
Y += " in both domains together"


def near(picture: Image.Image, colour: str) -> np.ndarray:
    """Where the picture has a colour, (h, w) of bool."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(np.asarray(picture).astype(int) - wanted).max(-1) < 12


def colours_in(picture: Image.Image) -> int:
    return len(picture.getcolors(1 << 20) or [])


def chart(at: list[int], lines: dict[str, list[Interval]]) -> Image.Image:
    """One panel."""
    return panels([Panel("title", "x", "y", at, lines)])


def test_charts_draw_what_they_are_given_and_pass_over_nan() -> None:
    rows = [{"step": i, "loss": math.nan if i == 5 else 1 / (i + 1)} for i in range(100)]
    rows[3] = {"step": 3, "other": 2.0}
    empty = curves([], ["loss"])
    line = curves(rows, ["loss"])
    both = curves(rows, ["loss", "other"])
    assert line.size == empty.size and line.mode == "RGB"
    assert colours_in(line) > colours_in(empty)
    left, right = near(both, COLOURS[0]), near(both, COLOURS[1])
    assert left.any() and right.any()
    assert np.nonzero(left)[1].max() < both.width / 2 < np.nonzero(right)[1].min()
    found = [wilson(5, 10), wilson(10, 10), UNDEFINED]
    assert colours_in(chart([0, 1, 2], {"mnistm": found, "svhn": found})) > 10


def test_a_curve_over_decades_is_straight_on_its_axis_if_it_is_a_power() -> None:
    drawn = curves([{"step": i, "loss": 10 ** (-i / 50)} for i in range(201)], ["loss"])
    rows, columns = np.nonzero(near(drawn, COLOURS[0]))
    assert abs(np.corrcoef(rows, columns)[0, 1]) > 0.999
    for start, rate in ((100.0, -1.0), (100.0, 4.0)):  # no log of -1, and less than a decade
        found = [{"step": i, "loss": start + rate * i} for i in range(201)]
        rows, columns = np.nonzero(near(curves(found, ["loss"]), COLOURS[0]))
        assert abs(np.corrcoef(rows, columns)[0, 1]) > 0.999  # a linear axis


def test_charts_smooth_without_lag() -> None:
    straight = [2.0 * i for i in range(200)]
    assert _smoothed(straight) == pytest.approx(straight)
    rough = np.random.default_rng(0).normal(size=400)
    assert np.std(_smoothed(rough.tolist())) < 0.5 * np.std(rough)
    assert _smoothed([]) == []


def test_a_smoothed_line_leaves_out_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    def keep(figure: Any) -> Image.Image:
        (axes,) = figure.axes
        drawn.extend([len(line.get_xdata()), *line.get_xdata()[[0, -1]]] for line in axes.lines)
        return picture_of(figure)

    monkeypatch.setattr("hw2.figures.charts.picture_of", keep)
    curves([{"step": i, "loss": 1.0} for i in range(320)], ["loss"])
    assert drawn == [[320, 0, 319], [316, 2, 317]]  # as logged, smoothed


def test_figures_touch_no_global_state_of_pyplot() -> None:
    code = (
        "import sys, hw2.figures.charts as f; assert 'matplotlib' not in sys.modules;"
        "f.curves([{'step': 0, 'loss': 1.0}], ['loss']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_estimates_that_are_nan_are_passed_over() -> None:
    with_nan = chart([0, 1, 2, 3], {"a": [FOUND[0], UNDEFINED, *FOUND[1:]]})
    assert with_nan == chart([0, 2, 3], {"a": FOUND})
    no_limits = [Interval(0.5, math.nan, math.nan), Interval(0.7, math.nan, math.nan)]
    assert near(chart([0, 1], {"a": no_limits}), COLOURS[0]).sum() > 200


def test_a_legend_names_lines_only_where_there_are_several() -> None:
    def drawn(*names: str) -> Image.Image:
        return chart([0, 1, 2], dict.fromkeys(names, FOUND))

    assert drawn("mnistm") == drawn("svhn")
    assert drawn("mnistm", "svhn") != drawn("mnistm", "other")


@pytest.mark.parametrize("count, cols", [(1, 1), (3, 3), (4, 2), (5, 3)])
def test_panels_stand_in_up_to_three_columns(count: int, cols: int) -> None:
    one = Panel("Accuracy", "w", "accuracy", [0, 1, 2], {"mnistm": FOUND})
    drawn = panels([one] * count)
    width, height = PANEL_INCHES[cols]
    rows = -(-count // cols)
    assert drawn.size == (round(cols * width * DPI), round(rows * height * DPI))
    cells = near(drawn, COLOURS[0])[: drawn.height, :].reshape(rows, -1, drawn.width)
    inked = [(c[:, i * drawn.width // cols : (i + 1) * drawn.width // cols]).sum() > 100
             for c in cells for i in range(cols)]  # fmt: skip
    assert inked == [i < count for i in range(rows * cols)]


def test_a_line_has_one_colour_in_all_panels() -> None:
    both = Panel("a", "x", "y", [0, 1, 2], {"mnistm": FOUND, "svhn": FOUND})
    drawn = panels([both, replace(both, lines={"svhn": FOUND})], "title")
    right = drawn.crop((drawn.width // 2, 0, *drawn.size))
    assert near(drawn, COLOURS[0]).any()
    assert near(right, COLOURS[1]).any() and not near(right, COLOURS[0]).any()


def test_lines_have_their_colours_in_the_order_that_is_given() -> None:
    one = Panel("one", "w", "", [0, 1], {"b": [Interval(1, 1, 1), Interval(2, 2, 2)]})
    drawn = panels([one], order=["a", "b"])
    assert near(drawn, COLOURS[1]).any() and not near(drawn, COLOURS[0]).any()


def test_a_title_stands_above_the_panels() -> None:
    one = Panel("a", "x", "y", [0, 1, 2], {"mnistm": FOUND})
    inks = [near(panels([one], title), INK)[:25].sum() for title in ("", "A TITLE")]
    assert inks[1] > inks[0] + 50


def test_no_text_is_cut_off() -> None:
    one = Panel(TITLE, X, Y, [0, 1, 2], {"mnistm": FOUND, "svhn": FOUND})
    for drawn in (
        *(panels([one] * count, TITLE + TITLE) for count in (2, 4)),
        panels([one]),
        curves([{"step": i, Y: i} for i in range(9)], [Y]),
    ):
        edge = np.asarray(drawn).copy()
        edge[2:-2, 2:-2] = 255
        assert (edge == 255).all()


def test_whiskers_reach_from_the_lower_limit_to_the_upper() -> None:
    line = [Interval(5.0, 2.0, 6.0), Interval(5.0, 5.0, 9.0), Interval(0.3, 0.3000001, 0.2)]
    assert arms_of(line) == [[3.0, 0.0, 0.0], [1.0, 4.0, 0.0]]


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_level_line_is_drawn_where_there_is_no_difference(level: float) -> None:
    line = [Interval(v, v, v) for v in (-1.0, 0.2, 1.0)]
    panel = Panel("title", "x", "y", [0, 1, 2], {"a": line})
    without, with_line = (
        near(panels([replace(panel, zero=zero)]), INK).sum(1).max() for zero in (None, level)
    )
    assert without < 200 < with_line


def test_numbers_without_limits_have_no_whiskers() -> None:
    exact, colour = [Interval(v, v, v) for v in (1.0, 2.0, 3.0)], COLOURS[0]
    limited = [Interval(v, v - 1e-9, v) for v in (1.0, 2.0, 3.0)]  # whiskers on the marks
    wide = [int(near(chart([1, 2, 3], {"a": line}), colour).sum()) for line in (exact, limited)]
    assert 0 < wide[0] < wide[1]
