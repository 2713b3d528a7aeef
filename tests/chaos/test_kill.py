"""Kill points at random, then the same command: the same bits, and each row once.

The undisturbed trainings run bare; so these tests also say that Ray Train computes the same numbers
as plain processes. CHAOS_SEED=N repeats what a run has drawn; `make chaos N=50` does more.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.chaos.episodes import Ground, bare, diverging, local, on_cluster, without_mlflow
from tests.chaos.training import CHECKPOINT_EVERY, Point

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# Ten minutes by default, half a minute with us: a test does not wait even for that.
SOON = {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "5"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, digits_tree: Path) -> Ground:
    return Ground(tmp_path_factory.mktemp("chaos"), digits_tree)


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    seed = os.environ.get("CHAOS_SEED") or str(time.time_ns() % 10**6)
    print(f"CHAOS_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


def assert_little_was_repeated(points: list[Point]) -> None:
    print(*points, sep="\n")
    assert all(0 <= point.repeated <= CHECKPOINT_EVERY for point in points)


def test_a_job_without_ray(ground: Ground, draw: random.Random) -> None:
    points = bare(ground, draw, 5)
    assert len(points) == 5
    assert_little_was_repeated(points)


def test_the_driver_and_a_worker_of_a_local_ray(ground: Ground, draw: random.Random) -> None:
    # The driver first: a worker's end just before its own would not be heard.
    points = local(ground, draw, ["driver", draw.choice(["worker", "stop"])], **SOON)
    assert len(points) == 2
    assert_little_was_repeated(points)
    said = ground.newest.say()
    assert said.count("failed: ") >= 1
    assert "the workers start again from the newest checkpoint" in said
    assert not (ground.newest.folder.path / ".ray" / "auth_token").exists()


def test_the_head_of_a_cluster(ground: Ground, draw: random.Random) -> None:
    points = on_cluster(ground, draw, ["head"])
    assert len(points) == 1
    assert_little_was_repeated(points)


def test_a_tracking_server_that_goes_away(ground: Ground, draw: random.Random) -> None:
    assert_little_was_repeated(without_mlflow(ground, draw, 5))


def test_a_loss_that_becomes_nan(ground: Ground, draw: random.Random) -> None:
    (point,) = diverging(ground, draw)
    assert point.repeated == 0
