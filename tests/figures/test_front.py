"""The front of settings by two qualities."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from hw2.figures.charts import COLOURS
from hw2.figures.front import CHOSEN, FrontPoint, _beaten, front
from hw2.metrics.intervals import Interval, wilson
from tests.figures.test_charts import FOUND, TITLE, X, Y, near


def test_no_text_is_cut_off() -> None:
    points = [FrontPoint(f"w={i}", FOUND[i], FOUND[2 - i]) for i in range(3)]
    edge = np.asarray(front(points, TITLE, X, Y, points[1])).copy()
    edge[2:-2, 2:-2] = 255
    assert (edge == 255).all()


def test_each_group_has_a_colour_and_a_name() -> None:
    points = [FrontPoint(f"w={i}", FOUND[i], FOUND[2 - i], "ab"[i % 2]) for i in range(3)]
    drawn, one = front(points), front([replace(p, group="") for p in points])
    assert near(drawn, COLOURS[0]).any() and near(drawn, COLOURS[1]).any()
    assert not near(one, COLOURS[1]).any()


@pytest.mark.parametrize("count", [4, 7])
def test_no_name_of_a_group_is_cut_off(count: int) -> None:
    names = [f"sampler=dpmpp, steps={i}" for i in range(count)]
    points = [FrontPoint(f"w={i}", FOUND[i % 3], FOUND[2 - i % 3], n) for i, n in enumerate(names)]
    edge = np.asarray(front(points, "t", X, "y", points[1])).copy()
    edge[2:-2, 2:-2] = 255
    assert (edge == 255).all()


def test_points_without_a_group_are_on_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[list[tuple[float, float]]]] = []
    monkeypatch.setattr(
        "hw2.figures.front.label_points", lambda axes, at, texts, lines: told.append(lines)
    )
    points = [FrontPoint(f"w={i}", FOUND[i], FOUND[2 - i], group=None) for i in range(3)]
    drawn = front(points)
    whiskers = 2 * len(points)
    assert len(told[0]) == whiskers and near(drawn, COLOURS[0]).any()
    front([replace(p, group="") for p in points])
    assert len(told[1]) == 1 + whiskers


def test_groups_have_their_colours_in_the_order_that_is_given() -> None:
    points = [FrontPoint("w=1", Interval(i, i, i), Interval(i, i, i), "ab"[i]) for i in (0, 1)]
    first = points[:1]
    assert near(front(first, order=["b", "a"]), COLOURS[1]).any()
    assert not near(front(first, order=["b", "a"]), COLOURS[0]).any()
    assert not near(front(first), COLOURS[1]).any()


def test_the_front_is_that_of_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (40, 2)) / 6  # with ties in one and in both
    points = [FrontPoint(str(i), Interval(x, x, x), Interval(y, y, y))
              for i, (x, y) in enumerate(values.tolist())]  # fmt: skip
    as_good = (values[None] >= values[:, None]).all(-1)
    better = (values[None] > values[:, None]).any(-1)
    expected = (as_good & better).any(1)
    assert [_beaten(p, points) for p in points] == expected.tolist()
    assert 0 < expected.sum() < 40


def test_a_worth_stands_for_the_first_quality() -> None:
    """Of 40 points that are better the nearer to 1 they lie."""
    values = np.random.default_rng(0).random((40, 2)) * 2
    points = [FrontPoint(str(i), Interval(x, x, x), Interval(y, y, y), worth=-abs(x - 1))
              for i, (x, y) in enumerate(values.tolist())]  # fmt: skip
    near_one = [replace(p, x=Interval(*[-abs(p.x.value - 1)] * 3), worth=None) for p in points]
    found = [_beaten(p, points) for p in points]
    assert found == [_beaten(p, near_one) for p in near_one]
    assert found != [_beaten(replace(p, worth=None), [replace(q, worth=None) for q in points])
                     for p in points]  # fmt: skip


@pytest.mark.parametrize(("count", "named"), [(30, 30), (31, 2)])
def test_of_many_points_the_unbeaten_and_the_chosen_are_named(
    count: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "hw2.figures.front.label_points", lambda axes, at, texts, lines: told.extend(texts)
    )
    at = [Interval(i, i, i) for i in range(count)]
    points = [FrontPoint(str(i), x, x) for i, x in enumerate(at)]
    front(points, best=points[3])
    assert len(told) == named and {"3", str(count - 1)} <= set(told)
    assert told[0] == "3"  # where there is room for one, it is the chosen one's


def test_the_line_goes_from_left_to_right(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[tuple[float, float]]] = []
    monkeypatch.setattr(
        "hw2.figures.front.label_points", lambda axes, at, texts, lines: told.append(lines[0])
    )
    places = [(2.0, 1.0), (0.0, 0.5), (1.0, 0.0)]
    front([FrontPoint("", Interval(x, x, x), Interval(y, y, y)) for x, y in places])
    assert told == [sorted(places)]


def test_points_that_are_not_beaten_are_filled() -> None:
    beaten, other = (FrontPoint(name, wilson(x, 100), wilson(y, 100), name)
                     for name, x, y in (("a", 70, 50), ("b", 80, 80)))  # fmt: skip
    drawn = front([beaten, other])
    full = [sliding_window_view(near(drawn, colour), (5, 5)).all((2, 3)).any()
            for colour in COLOURS[:2]]  # fmt: skip
    assert full == [False, True]


def test_whiskers_of_the_first_quality_lie_and_of_the_second_stand() -> None:
    wide, exact = Interval(0.5, 0.2, 0.8), Interval(0.5, 0.5, 0.5)
    for x, y in ((wide, exact), (exact, wide)):
        rows, columns = np.nonzero(near(front([FrontPoint("w=2", x, y)]), COLOURS[0]))
        high, broad = np.ptp(rows), np.ptp(columns)
        assert (broad > 100 and high < 20) if x is wide else (high > 100 and broad < 20)


def test_a_front_marks_the_beaten_and_the_chosen() -> None:
    a, b, c = (FrontPoint(f"w={w}", wilson(x, 100), wilson(y, 100))
               for w, x, y in ((0, 40, 90), (2, 80, 80), (4, 70, 50)))  # fmt: skip
    unbeaten, one_beaten = front([a, b], "t", "x", "y"), front([a, b, c], "t", "x", "y")
    assert not near(unbeaten, COLOURS[5]).any() and near(one_beaten, COLOURS[5]).sum() > 5
    assert not near(one_beaten, CHOSEN).any()
    ringed = near(front([a, b, c], "t", "x", "y", best=b), CHOSEN)
    assert ringed[:380].sum() > 50 and ringed[400:].sum() > 50  # in the chart and its legend
