"""How long one waits."""

import pytest
import start_times

from tests.benchmarks.conftest import Run


def test_help_is_timed_beside_its_floor(run: Run) -> None:
    words = ["--rounds", 1, "--step_rounds", 0, "--jobs", "merge_concepts"]
    floor, job = run("start_times", *words)
    assert floor["what"] == start_times.FLOOR
    assert job["what"] == "jobs.merge_concepts --help"
    assert 0 < job["low"] <= job["value"] <= job["high"]
    assert job["core-seconds"] > 0


def test_the_time_of_make_test_is_the_last_in_its_log() -> None:
    log = "3 passed in 1.50s\n===== 812 passed, 40 deselected in 345.67s (0:05:45) =====\n"
    assert start_times.test_seconds(log) == 345.67
    with pytest.raises(SystemExit, match="give another"):
        start_times.test_seconds("no such line")
