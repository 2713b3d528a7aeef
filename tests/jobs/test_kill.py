"""kill -9 at any moment, then the same command: the same bits, and each row once.

The undisturbed training, which the others must equal, runs bare; so these tests also say that
Ray Train computes the same numbers as plain processes.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.jobs.bare import SETTINGS, STEPS
from tests.jobs.command import ROOT, Folder, bits, descendants, wait_for_step


def words(tree: Path, workers: int) -> list[object]:
    """The command's words."""
    settings = {f"train.{key}": value for key, value in SETTINGS.items()}
    settings |= {"out": "out", "data.root": tree, "scaling.num_workers": workers}
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def undisturbed(path: Path, tree: Path, workers: int) -> Path:
    """The same training by bare processes, never interrupted."""
    subprocess.run(
        [sys.executable, "-m", "tests.jobs.bare", str(workers), tree, path], check=True, cwd=ROOT
    )
    return path


def seeded() -> random.Random:
    seed = time.time_ns() % 10**6
    print(f"seed of the kills: {seed}")
    return random.Random(seed)


def assert_each_row_once(folder: Folder) -> None:
    assert folder.steps("train/loss") == list(range(1, STEPS + 1))
    assert folder.steps("val/accuracy/svhn") == list(range(5, STEPS + 1, 5))
    assert folder.query("SELECT status FROM runs") == [("FINISHED",)]


@pytest.mark.timeout(900)
def test_a_bare_job_killed_at_random_moments(folder: Folder, digits_tree: Path) -> None:
    want = undisturbed(folder.path / "want", digits_tree, 1)
    draw, out = seeded(), folder.path / "out"
    for low in (1, 20):
        job = folder.start("train_judge", *words(digits_tree, 0))
        wait_for_step(out, draw.randint(low, low + 18), job)
        time.sleep(draw.random() * 0.1)
        job.kill()
        job.communicate()
    assert folder.run("train_judge", *words(digits_tree, 0)).code == 0
    assert bits(out) == bits(want)
    assert_each_row_once(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_workers_and_the_driver_killed_at_random_moments(
    folder: Folder, digits_tree: Path
) -> None:
    want = undisturbed(folder.path / "want", digits_tree, 2)
    draw, out = seeded(), folder.path / "out"

    job = folder.start("train_judge", *words(digits_tree, 2))
    wait_for_step(out, draw.randint(3, 18), job)
    workers = sorted(p for p, title in descendants(job.pid).items() if "RayTrainWorker" in title)
    assert len(workers) == 2
    os.kill(draw.choice(workers), signal.SIGKILL)
    wait_for_step(out, draw.randint(24, 36), job)  # it goes on by itself
    others = [p for p, title in descendants(job.pid).items() if "RayTrainWorker" in title]
    assert len(others) == 2
    assert not set(workers) & set(others)
    job.kill()
    _, told = job.communicate()
    print(told)
    assert told.count("failed: ") >= 1
    assert "the workers start again from the newest checkpoint" in told

    ended = folder.run("train_judge", *words(digits_tree, 2))  # local Ray died with the driver
    assert ended.code == 0
    assert bits(out) == bits(want)
    assert_each_row_once(folder)
    # On a busy machine Ray's controller tells of late answers, and that they are harmless.
    known = ("train_judge: ", "(TrainController pid=")
    assert [line for line in ended.err.splitlines() if not line.startswith(known)] == []
    assert not (folder.path / ".ray" / "auth_token").exists()
