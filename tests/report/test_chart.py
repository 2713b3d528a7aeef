"""Charts of estimates with their limits."""

import itertools
import math

import pytest

from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart, ticks
from hw2.report.sentences import EMPTY, Said
from hw2.report.texts import Texts


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 1),
        (0.87, 1.0),
        (-3.2, 41),
        (5, 5),
        (0, 0),
        (1e-5, 3e-5),
        (1e-13, 3e-13),
        (-2, -1),
        (2e6, 9e6),
    ],
)
def test_ticks_are_few_round_numbers_around_all_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low + 1e-9 and found[-1] >= high - 1e-9
    assert 2 <= len(found) <= 8 and found == sorted(set(found))
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) - min(steps) < 1e-6 * max(steps)


def test_a_chart_puts_more_above_less_and_leaves_out_what_is_not_known() -> None:
    line = [Interval(1, 0, 2), UNDEFINED, Interval(3, 2.5, math.nan)]
    made = chart("score.accuracy", "w", [0, 1, 4], {"a": line})
    ((name, (first, last)),) = made.lines
    assert name == "a" and first.x < last.x and first.y > last.y  # y grows downwards
    assert first.low > first.y > first.high and last.high == last.y
    assert [text for _, text in made.x_ticks] == ["0", "1", "4"]
    assert made.zero is None
    assert made.text(first) == Said("format.named", {"name": "w = 0", "value": "1.0 (0.0-2.0)"})
    assert made.rows == (("0", "1.0 (0.0-2.0)"), ("4", f"3.000 ({EMPTY})"))


def test_the_numbers_of_a_chart_are_a_row_a_value_and_a_column_a_line() -> None:
    some, more = [Interval(1, 0, 2), UNDEFINED], [Interval(3, 2, 4), Interval(0, 0, 0)]
    made = chart("score.accuracy", "w", [10, 9], {"some": some, "more": more})
    assert made.rows == (("9", EMPTY, "0"), ("10", "1.0 (0.0-2.0)", "3.0 (2.0-4.0)"))


def test_a_chart_tells_its_estimates_to_those_who_do_not_see_it() -> None:
    line = [Interval(1, 0, 2), Interval(3, 2.5, 3.5)]
    named, alone = (chart("score.accuracy", "w", [0, 1], {name: line}) for name in ("a", ""))
    told = "w = 0: 1.0 (0.0-2.0), w = 1: 3.0 (2.5-3.5)"
    say = Texts.of("en").say
    assert say(named.about) == f"Chart: judged accuracy over w. a: {told}"
    assert say(alone.about) == f"Chart: judged accuracy over w. {told}"
    assert "1.0 (0.0-2.0)" in Texts.of("zh-TW").say(named.about)


def test_labels_of_a_chart_do_not_overlap() -> None:
    line = [Interval(v, v, v) for v in (1, 2, 3, 4)]
    made = chart("score.accuracy", "w", [0, 0.01, 2, 4], {"a": line})
    assert [text for _, text in made.x_ticks] == ["0", "2", "4"]
    assert len(made.lines[0][1]) == 4


def test_lines_that_say_the_same_are_drawn_side_by_side() -> None:
    line = [Interval(1, 0, 2), Interval(1, 0, 2), Interval(1, 0, 2)]
    (_, left), (_, right) = chart("", "w", [0, 0.01, 4], {"a": line, "b": line}).lines
    ((_, alone),) = chart("", "w", [0, 0.01, 4], {"a": line}).lines
    places = [x for a, m, b in zip(left, alone, right, strict=True) for x in (a.x, m.x, b.x)]
    assert places == sorted(set(places))  # and none is among those of the next value
    assert right[2].x - left[2].x < 6.5


def test_a_chart_over_zero_has_its_line() -> None:
    made = chart("score.accuracy", "w", [0, 1], {"a": [Interval(-1, -1, -1), Interval(1, 1, 1)]})
    assert made.zero is not None
    ((_, (below, above)),) = made.lines
    assert above.y < made.zero < below.y


def test_a_chart_of_one_value_has_it_in_the_middle() -> None:
    made = chart("score.accuracy", "w", [3], {"a": [Interval(0.5, 0.2, 0.9)]}, ".0%")
    assert made.x_ticks == ((LEFT + (WIDTH - LEFT - RIGHT) / 2, "3"),)
    assert [text for _, text in made.y_ticks] == ["20 %", "40 %", "60 %", "80 %", "100 %"]


def test_limits_lie_within_a_chart() -> None:
    made = chart("score.accuracy", "w", [0, 1], {"a": [Interval(1, -5, 9), Interval(2, 0, 30)]})
    ((_, marks),) = made.lines
    assert min(mark.high for mark in marks) >= TOP
    assert max(mark.low for mark in marks) <= HEIGHT - BOTTOM
