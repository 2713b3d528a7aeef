"""What Optuna asks for, without a sweep: the searcher alone."""

from pathlib import Path

from hw2.distributed.search import num_asked, point_of, searched
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.space import Point
from hw2.sweeps.trial import run_trial
from tests.sweeps.toy import make_toy, toy_config


def config_of(out: Path, count: int, x: dict[str, list[float]], **more: str) -> SweepConfig:
    return toy_config(
        out,
        space={"x": x},
        search={"method": "optuna", "num_trials": count},
        scaling={"num_workers": 1},
        **more,
    )


def asked(out: Path, count: int, **x: list[float]) -> list[Point]:
    """The first points that Optuna asks for, of a sweep that goes on in `out`."""
    _, search, _ = searched([], config_of(out, count, x or {"randint": [-1, 2]}), out)
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


def test_a_sweep_that_goes_on_asks_for_other_points(tmp_path: Path) -> None:
    first = [point["x"] for point in asked(tmp_path, 3, uniform=[0, 1])]
    list(run_trial(make_toy(tmp_path)(False), tmp_path, {"x": first[0]}, [5]))
    then = [point["x"] for point in asked(tmp_path, 3, uniform=[0, 1])]
    assert then[0] == first[0] and not set(then[1:]) & set(first)
    list(run_trial(make_toy(tmp_path)(False), tmp_path, {"x": first[1]}, [5]))
    for count, want in ((3, 3), (1, 2)):  # what was begun is among those that were asked for
        config = config_of(tmp_path, count, {"uniform": [0, 1]})
        assert searched([], config, tmp_path)[2] == num_asked(config, tmp_path) == want


def test_the_settings_reach_optuna(tmp_path: Path) -> None:
    found = [point["x"] for point in asked(tmp_path, 20, loguniform=[1e-6, 1])]
    assert sum(x < 1e-3 for x in found) >= 3  # evenly in its logarithm: about ten
    for mode in ("min", "max"):
        config = config_of(tmp_path, 1, {"uniform": [0, 1]}, metric="y", mode=mode)
        search = searched([], config, tmp_path)[1]
        assert (search.metric, search.mode) == ("y", mode)
