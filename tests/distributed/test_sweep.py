"""Trials under Ray Tune: what is made once, drawn once, told, stopped, and started again."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw2.distributed.sweep import run_sweep
from hw2.lock import only_writer
from hw2.sweeps.kept import kept_trials
from hw2.sweeps.space import Point
from hw2.sweeps.trial import TrialResult, name_of, read_trial
from tests.buckets import BucketServer
from tests.jobs.command import ROOT
from tests.sweeps.toy import lines, make_toy, noise, toy_config

pytestmark = pytest.mark.slow  # about a minute of real Ray in one fixture
pytest_plugins = ["tests.bucket_fixtures"]

EIGHT: list[Point] = [{"x": float(x)} for x in range(8)]
TROUBLED: list[Point] = [
    {"x": 0.0},
    {"x": 1.0, "trouble": "raise"},
    {"x": 2.0, "trouble": "die once"},
    {"x": 3.0, "trouble": "die"},
    {"x": 4.0},
]
COMPARED: list[Point] = [{"x": 9.0}, {"x": 1.0, "other": 9.0, "trouble": "die once"}]
BEST_FIRST: list[Point] = EIGHT[::-1]  # so whoever follows is compared with better ones
ONE = {"num_workers": 1, "cpus_per_worker": 0.5, "use_gpu": False}
ASHA = {
    "ballast": 100 * 2**20,  # bytes that `make` holds; Ray's classes carry 95 MiB at most
    "samples": 40,
    "scheduler": {"method": "asha", "grace": 5, "reduction_factor": 2},
    "scaling": ONE,
}
SPACE = {
    "x": {"uniform": [0, 5]},
    "pair": {"choice": [[0, 1], [2, 3]]},
    "whole": {"randint": [1, 4]},
}


def optuna(num_trials: int) -> dict[str, Any]:
    search = {"method": "optuna", "num_trials": num_trials}
    return {"space": SPACE, "search": search, "scaling": ONE}


SWEEPS: dict[str, tuple[str, list[Point], dict[str, Any]]] = {
    "eight": ("eight", EIGHT, {}),
    "troubled": ("troubled", TROUBLED, {"max_failures": 1}),
    "asha": ("asha", BEST_FIRST, ASHA),
    "asha, again": ("asha", EIGHT, ASHA),  # in another order, as kept trials are told
    "optuna": ("optuna", [], optuna(3)),
    "optuna, more": ("optuna", [], optuna(5)),
    "optuna, again": ("optuna", [], optuna(5)),
    "shared": ("shared", EIGHT, {"gpus_per_trial": 0.5, "scaling": {"cpus_per_worker": 0.5}}),
    "moved": ("moved", [{"x": 0.0, "trouble": "change disks"}], {"max_failures": 2}),
    "held": ("held", [{"x": 0.0, "trouble": "lock it out"}], {}),
    "away": ("away", EIGHT[:3], {"away": True}),
    "bucket": ("bucket", COMPARED, {"scaling": ONE, "samples": 5}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def swept(folder: Path, bucket_server: BucketServer) -> dict[str, dict[str, Any]]:
    """What came of each of SWEEPS, one after the other."""
    file = folder / "sweeps.json"
    SWEEPS["bucket"][2]["bucket"] = bucket_server.uri("sweep")
    file.write_text(json.dumps([[str(folder / out), *rest] for out, *rest in SWEEPS.values()]))
    environment = dict(os.environ, HOME=str(folder))
    environment.pop("RAY_AUTH_MODE", None)  # as a user has it
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.distributed.private_sweep", file],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    print(f"{time.monotonic() - began:.0f} s", done.stdout, done.stderr, file=sys.stderr)
    assert done.returncode == 0
    found, values = json.loads(done.stdout.splitlines()[-1])
    others: dict[str, dict[str, Any]] = {"dying reset": {"values": values}}
    others["all"] = {"told": done.stdout + done.stderr}
    return dict(zip(SWEEPS, found, strict=True)) | others


def by_x(folder: Path, points: list[Point]) -> dict[float, TrialResult]:
    found = {point["x"]: read_trial(folder, point) for point in points}
    assert len(found) == len(points)
    return found


def test_two_actors_make_their_work_once_and_get_what_one_process_gets(
    folder: Path, swept: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    seen = swept["eight"]
    assert len(seen["made"]) == len(set(seen["made"]))
    # Two actors for 8 trials. Where a trial lasts milliseconds, Tune may find that none waits for
    # an actor, end it, and start another one for the next.
    assert 2 <= len(seen["made"]) <= 4
    assert len(seen["drawn"]) == 16
    assert len(seen["told"]) == len(seen["points"]) == 8
    assert not (folder / "eight" / "ray").exists()

    run_sweep(make_toy(tmp_path), EIGHT, toy_config(tmp_path), tmp_path, lambda trial: None)
    assert len(lines(tmp_path / "made")) == 1
    mine, theirs = by_x(folder / "eight", seen["points"]), by_x(tmp_path, EIGHT)
    assert mine.keys() == theirs.keys()
    for x, trial in mine.items():
        assert trial.reports == theirs[x].reports
        np.testing.assert_array_equal(trial.outcomes["y"], theirs[x].outcomes["y"])
        assert trial.scores["y"].value == pytest.approx(x + noise(range(10)).mean(), abs=1e-12)


def test_what_goes_wrong_in_a_trial(folder: Path, swept: dict[str, dict[str, Any]]) -> None:
    seen = swept["troubled"]
    assert len(seen["told"]) == len(seen["points"]) == 5
    found = by_x(folder / "troubled", seen["points"])
    assert {x: trial.samples for x, trial in found.items()} == {0: 10, 1: 0, 2: 10, 3: 0, 4: 10}
    assert found[1].error == "ValueError: x=1 is cursed, as was told"
    assert "toy.py" in found[1].trace
    assert found[3].error == "its process died more than 1 times"
    assert not any(found[x].error for x in (0, 2, 4))
    draws = seen["drawn"]
    assert draws.count("1 0") == 1  # Tune does not try an error again
    assert draws.count("2 0") == draws.count("3 0") == 2  # but one whose process died


def test_an_actor_that_finds_another_disk_says_so_in_a_line(
    folder: Path, swept: dict[str, dict[str, Any]]
) -> None:
    said = f"{folder / 'moved'} is not on all nodes of the cluster"
    (trial,) = by_x(folder / "moved", swept["moved"]["points"]).values()
    assert trial.error.startswith(said)
    assert trial.trace == ""
    told = swept["all"]["told"]
    assert said in told
    assert "creation task" not in told and "trial_actor.py" not in told
    assert swept["moved"]["drawn"] == ["0 0"]


def test_nobody_moves_the_folder_aside_in_which_an_actor_works(
    folder: Path, swept: dict[str, dict[str, Any]]
) -> None:
    (trial,) = by_x(folder / "held", swept["held"]["points"]).values()
    assert trial.error.startswith(f"out={folder / 'held'}: another run is writing there")
    with only_writer(folder / "held", 5.0):
        pass  # it goes with the actor


def test_an_actor_takes_what_another_drew_from_the_bucket(
    swept: dict[str, dict[str, Any]], bucket_server: BucketServer
) -> None:
    """The second one, after the death of the first, has a new folder."""
    seen = swept["bucket"]
    assert len(seen["made"]) == 2
    assert seen["drawn"] == ["1 0", "1 0", "9 0"]
    assert all(
        f"{name_of(point)}/result.json" in bucket_server.names("sweep") for point in COMPARED
    )


def test_who_cannot_take_a_trial_ends_the_sweep_after_all_of_them(
    swept: dict[str, dict[str, Any]],
) -> None:
    assert swept["away"]["refused"] == "away at 1"
    assert sorted(point["x"] for point in swept["away"]["told"]) == [0, 1, 2]  # each once


def test_an_actor_that_dies_between_two_trials(swept: dict[str, dict[str, Any]]) -> None:
    assert swept["dying reset"]["values"] == [1, 2, 3, 4, 5]


def test_asha_stops_the_worst(folder: Path, swept: dict[str, dict[str, Any]]) -> None:
    found = by_x(folder / "asha", swept["asha"]["points"])
    assert len(found) == len(swept["asha"]["told"]) == 8
    assert found[7].samples == 40
    stopped = [trial for trial in found.values() if trial.samples < 40]
    assert len(stopped) >= 4
    assert all(trial.reports and not trial.error for trial in stopped)
    draws = swept["asha"]["drawn"]
    assert len(draws) == len(set(draws)) == sum(t.samples for t in found.values()) / 5
    assert len(draws) < 0.6 * 8 * 40 / 5


def test_optuna_continues(folder: Path, swept: dict[str, dict[str, Any]]) -> None:
    first, more = swept["optuna"], swept["optuna, more"]
    assert len(first["points"]) == 3
    assert all(0 <= p["x"] <= 5 and p["pair"] in ([0, 1], [2, 3]) for p in more["points"])
    assert all(p["whole"] in (1, 2, 3) for p in more["points"])
    assert len(first["drawn"]) == 6
    assert len(more["drawn"]) == len(set(more["drawn"])) == 10
    assert len(more["points"]) == len(kept_trials(folder / "optuna")) == 5
    assert all(point in more["points"] for point in first["points"])


@pytest.mark.parametrize("name", ["asha", "optuna"])
def test_a_sweep_that_has_ended_draws_no_more(name: str, swept: dict[str, dict[str, Any]]) -> None:
    last = {"optuna": "optuna, more"}.get(name, name)
    before, again = swept[last], swept[f"{name}, again"]
    assert again["drawn"] == before["drawn"] and again["made"] == before["made"]
    assert again["points"] == again["told"] == before["points"]


def test_a_share_of_no_gpu_is_refused(folder: Path, swept: dict[str, dict[str, Any]]) -> None:
    said = swept["shared"].get("refused", "has a GPU")
    if said != "has a GPU":
        assert said == "gpus_per_trial=0.5, but the cluster has no GPU: leave it out"
        assert kept_trials(folder / "shared") == []
