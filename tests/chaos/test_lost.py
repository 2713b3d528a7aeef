"""What a node costs that is told to go, or lost; and what is said, and kept free, meanwhile."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw2.stopping import WANTED
from tests.chaos.cluster import Cluster
from tests.chaos.training import Disturbed, assert_plain
from tests.jobs.command import Folder, send
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NOTICE_SECONDS = 25


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and a node, of one CPU each."""
    cluster = Cluster(tells=True)
    yield cluster
    cluster.close()


@pytest.fixture
def run(folder: Folder, digits_tree: Path, cluster: Cluster) -> Iterator[Disturbed]:
    """An elastic training without end on both nodes, which saves nothing by itself."""
    settings: dict[str, object] = {
        "scaling.min_workers": 1,
        "train.num_steps": 100_000,
        "train.checkpoint_every": 100_000,
        "train.learning_rate": 1e-6,
    }
    draw = random.Random(1)
    run = Disturbed(folder, digits_tree, 2, folder.path, draw, cluster.variables, settings)
    run.start()
    run.wait("two workers", lambda: run.step() >= 20, 0.2)
    yield run
    run.close()


def test_a_node_that_is_told_to_go_costs_ten_seconds(run: Disturbed, cluster: Cluster) -> None:
    cluster.drain(NOTICE_SECONDS)
    told = time.monotonic()
    run.wait("a checkpoint", lambda: any((run.out / "checkpoints").glob("step_*")), 0.05)
    assert time.monotonic() - told < 15
    run.struck("told to go", "", restart=False)
    run.wait_for_starts(2)
    (_, two), (begun, one) = run.starts()
    assert (two, one) == (2, 1)
    [point] = run.points()
    rows = [entry for entry in run.entries() if entry.kind == "metrics" and entry.step >= begun]
    lost = (rows[point.repeated].time_ms - rows[0].time_ms) / 1000
    assert point.repeated < begun and lost < 15, (begun, point, lost)
    assert "a node is about to be taken away: a checkpoint is saved now" in run.say()
    assert_plain(run.say())


def test_a_stop_after_a_node_was_lost_waits_for_no_worker(run: Disturbed, cluster: Cluster) -> None:
    os.kill(cluster.node.raylet(), signal.SIGKILL)
    run.wait("the others' end", lambda: not (run.out / WANTED).read_bytes(), 0.02)
    began = time.monotonic()
    send(run.job.pid, signal.SIGTERM)
    assert run.job.wait(60) == 143, run.say()
    assert time.monotonic() - began < 15
    assert "a checkpoint is saved first" not in run.say()
    assert "failed: LostAnotherWorker" in run.say() or "worker 1 failed: " in run.say()
    assert_plain(run.say())


def test_the_room_of_a_killed_driver_is_the_next_ones(run: Disturbed, cluster: Cluster) -> None:
    """Of another OUT here, so also of the same one, and with `--overwrite true`."""
    kept = cluster.kept_free()
    assert len(kept) == 1
    run.job.kill()
    run.job.wait()
    run.settings["out"], run.out = "another", run.folder.path / "another"
    began = time.monotonic()
    run.start()
    run.wait_for_starts(1)
    assert time.monotonic() - began < 150  # after three minutes Ray forgets who was killed
    wait_for(lambda: run.step() > 0)
    [successor] = cluster.kept_free()
    assert successor not in kept
    assert {workers for _, workers in run.starts()} == {2}
