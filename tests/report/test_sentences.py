"""Numbers and settings as text, and the sentences that they choose."""

import math

from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.report.parts import number
from hw2.report.sentences import in_a_line, points, shown, size, trend


def test_settings_in_a_line() -> None:
    told = in_a_line({"a": 1, "b": None, "c": [0.5, True], "d": "x"})
    assert told == "a 1, c 0.5, true, d x"


def test_a_trend_needs_limits_that_do_not_meet() -> None:
    low, high, between = Interval(1, 0.9, 1.1), Interval(2, 1.9, 2.1), Interval(1.5, 1, 2)
    assert trend(low, high) == "rises" and trend(high, low) == "falls"
    assert trend(low, between) == trend(between, high) == trend(high, between) == "same"


def test_numbers_as_text() -> None:
    assert number(Interval(0.5, 0.4, 0.6), ".0%").text == "50 % (40-60)"
    assert number(UNDEFINED).order is None and number(UNDEFINED).text == "\u2013"
    assert number(Interval(0, 0, 0)).text == shown(Interval(0, 0, 0)) == "0"
    assert points(Interval(0.125, -0.05, 0.2)) == "+12.5 (-5.0 \u2026 20.0)"
    assert points(Interval(-0.09, math.nan, math.nan)) == "-9.0 (\u2013)"  # of two noises
    assert size(Interval(0.125, -0.05, 0.2)) == "12.5 (-5.0 \u2026 20.0)"
    assert size(Interval(-0.125, -0.2, 0.0)) == "12.5 (0.0 \u2026 20.0)"
