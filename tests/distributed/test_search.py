"""What Optuna asks for, without a sweep: the searcher alone."""

from pathlib import Path

from hw2.distributed.search import point_of, searched
from hw2.sweeps.space import Point
from hw2.sweeps.trial import run_trial
from tests.sweeps.toy import make_toy, toy_config


def asked(out: Path, count: int) -> list[Point]:
    """The first points that Optuna asks for, of a sweep that goes on in `out`."""
    config = toy_config(
        out,
        space={"x": {"randint": [-1, 2]}},
        search={"method": "optuna", "num_trials": count},
        scaling={"num_workers": 1},
    )
    _, search, _ = searched([], config, out)
    return [point_of(search.suggest(str(trial))) for trial in range(count)]


def test_whole_numbers_come_without_the_upper_end(tmp_path: Path) -> None:
    found = [point["x"] for point in asked(tmp_path, 30)]
    assert set(found) == {-1, 0, 1}
    assert {type(x) for x in found} == {int}


def test_begun_points_of_whole_numbers_come_first_where_they_still_lie_inside(
    tmp_path: Path,
) -> None:
    work, config = make_toy(tmp_path)(False), toy_config(tmp_path)
    for x in (1, 2, 0.5):  # the upper end is outside, and a fraction is no whole number
        list(run_trial(work, tmp_path, {"x": x}, config.rungs))
    assert asked(tmp_path, 1) == [{"x": 1}]
