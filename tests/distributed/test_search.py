"""What Optuna asks for and where ASHA stops, without a sweep: searcher and scheduler alone."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from hw2.data.files import write_json
from hw2.distributed.search import num_asked, point_of, searched
from hw2.distributed.tuning import _scheduler
from hw2.errors import ConfigError
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.space import Point
from hw2.sweeps.trial import run_trial, trial_folder
from tests.sweeps.toy import make_toy, toy_config


def config_of(out: Path, count: int, x: dict[str, list[float]], **more: Any) -> SweepConfig:
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


def test_each_point_that_is_given_is_tried_once(tmp_path: Path) -> None:
    points: list[Point] = [{"x": 1.0}, {"x": 2.0}]
    space, search, count = searched(points, toy_config(tmp_path), tmp_path)
    assert (space["point"]["grid_search"], search, count) == (points, None, 1)


def test_lists_come_back_from_optuna_as_lists(tmp_path: Path) -> None:
    space = {"pair": {"choice": [[0, 1], [2, 3]]}, "name": {"choice": ["ddim"]}}
    search = {"method": "optuna", "num_trials": 1}
    config = toy_config(tmp_path, space=space, search=search, scaling={"num_workers": 1})
    _, asking, _ = searched([], config, tmp_path)
    point = point_of(asking.suggest("0"))
    assert point["pair"] in ([0, 1], [2, 3]) and point["name"] == "ddim"


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
    assert num_asked(config_of(tmp_path, 1, {"randint": [-1, 2]}), tmp_path) == 1


def test_a_sweep_that_goes_on_asks_for_other_points(tmp_path: Path) -> None:
    first = [point["x"] for point in asked(tmp_path, 3, uniform=[0, 1])]
    list(run_trial(make_toy(tmp_path)(False), tmp_path, {"x": first[0]}, [5]))
    then = [point["x"] for point in asked(tmp_path, 3, uniform=[0, 1])]
    assert then[0] == first[0] and not set(then[1:]) & set(first)
    list(run_trial(make_toy(tmp_path)(False), tmp_path, {"x": first[1]}, [5]))
    for count, want in ((3, 3), (1, 2)):  # what was begun is among those that were asked for
        config = config_of(tmp_path, count, {"uniform": [0, 1]})
        assert searched([], config, tmp_path)[2] == num_asked(config, tmp_path) == want


def test_a_sweep_of_the_largest_seed_goes_on(tmp_path: Path) -> None:
    list(run_trial(make_toy(tmp_path)(False), tmp_path, {"x": 0.5}, [5]))
    config = config_of(tmp_path, 3, {"uniform": [0, 1]}, seed=2**32 - 1)
    _, search, _ = searched([], config, tmp_path)
    assert len({search.suggest(str(trial))["x"] for trial in range(3)}) == 3


def test_the_settings_reach_optuna(tmp_path: Path) -> None:
    found = [point["x"] for point in asked(tmp_path, 20, loguniform=[1e-6, 1])]
    assert sum(x < 1e-3 for x in found) >= 3  # evenly in its logarithm: about ten
    for mode in ("min", "max"):
        config = config_of(tmp_path, 1, {"uniform": [0, 1]}, metric="y", mode=mode)
        search = searched([], config, tmp_path)[1]
        assert (search.metric, search.mode) == ("y", mode)


@pytest.mark.parametrize(
    ("change", "inside"),
    [
        ({}, True),
        ({"x": 1.5}, False),
        ({"x": -0.5}, False),
        ({"x": "a"}, False),
        ({"pair": [1, 2]}, False),
        ({"more": 1}, False),
    ],
)
def test_which_begun_points_optuna_could_ask_for(
    change: dict[str, Any], inside: bool, tmp_path: Path
) -> None:
    last: Point = {"x": 1.0, "pair": [2.0, 3.0]} | change
    points: list[Point] = [
        {"x": 0.25, "pair": [2.0, 3.0]},
        {"x": 0.5, "pair": [0.0, 1.0]},
        {"x": 0.75},
    ]
    for point in (*points, last):
        folder = trial_folder(tmp_path, point)
        folder.mkdir(parents=True)
        write_json(folder / "point.json", point)
    space = {"x": {"uniform": [0, 1]}, "pair": {"choice": [[0, 1], [2, 3]]}}
    search = {"method": "optuna", "num_trials": 1}
    config = toy_config(tmp_path, space=space, search=search, scaling={"num_workers": 1})
    assert num_asked(config, tmp_path) == 2 + inside


def test_optuna_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(tmp_path, 1)  # else Ray would do without it also in other tests
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"search\.method=optuna: pip install optuna"):
        asked(tmp_path, 1)


def test_the_settings_reach_asha(tmp_path: Path) -> None:
    asha = {"method": "asha", "grace": 10, "reduction_factor": 3}
    config = toy_config(tmp_path, scheduler=asha, samples=40, scaling={"num_workers": 1})
    rungs = re.findall(r"Iter (\d+)", _scheduler(config).debug_string())
    assert rungs == ["30", "10"]  # 90 were more than there are samples
