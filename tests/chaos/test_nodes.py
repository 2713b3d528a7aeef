"""Nodes that leave and join while a job runs: it goes on, and does nothing twice that was done."""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pyarrow.parquet as pq
import pytest

from hw2.diffusion.counter import CounterRandom
from hw2.digits.judge_training import judge_training
from hw2.settings.data import DataConfig
from hw2.settings.digits import TrainJudgeConfig
from hw2.settings.training import TrainConfig
from tests.chaos.cluster import Cluster
from tests.chaos.training import Disturbed, assert_plain, is_start
from tests.clip.small import save_clip, write_set
from tests.jobs.bare import SETTINGS
from tests.jobs.command import Folder, as_words, descendants, send, wait_for_work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# More steps than a machine does before the last node is back: the test ends the training then.
STEPS, CHECKPOINT_EVERY, BATCH = 100_000, 400, SETTINGS["batch_size"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and a node, of one CPU each."""
    cluster = Cluster(tells=True)
    yield cluster
    cluster.close()


def test_a_training_takes_the_nodes_that_there_are(
    folder: Folder, digits_tree: Path, cluster: Cluster
) -> None:
    rate = 1e-10  # so that the weights stay, and the loss of a step tells which pictures it had
    settings: dict[str, object] = {
        "scaling.min_workers": 1,
        "train.num_steps": STEPS,
        "train.checkpoint_every": CHECKPOINT_EVERY,
        "train.learning_rate": rate,
    }
    soon = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}
    draw = random.Random(1)
    run = Disturbed(folder, digits_tree, 2, folder.path, draw, cluster.variables | soon, settings)
    try:
        run.start()
        run.wait("two workers", lambda: run.step() >= CHECKPOINT_EVERY + 20, 0.2)
        os.kill(cluster.node.raylet(), signal.SIGKILL)
        run.struck("node lost", "", restart=False)
        run.wait_for_starts(2)
        done = run.step()
        run.wait("one worker at work", lambda: run.step() > done + 20, 0.2)
        cluster.node.kill()  # what is left of it
        cluster.join()
        run.struck("node back", "", restart=False)
        run.wait_for_starts(3)
        done = run.step()
        run.wait("two workers again", lambda: run.step() > done + 20, 0.2)
        send(run.job.pid, signal.SIGTERM)
        assert run.job.wait() == 143, run.say()
        assert cluster.kept_free() == []  # the same training would wait for three minutes
        assert [workers for _, workers in run.starts()] == [2, 1, 2]
        print(*run.points(), sep="\n")
        lost, back = run.points()
        assert 0 <= lost.repeated <= CHECKPOINT_EVERY
        # Its workers are a new group, before which the old one saves what it did.
        assert 0 <= back.repeated <= 10
        assert_plain(run.say())
        assert_rows_once(run)

        config = TrainJudgeConfig(
            out=folder.path / "here",
            data=DataConfig(root=digits_tree),
            train=TrainConfig(**SETTINGS | {"num_steps": STEPS, "learning_rate": rate}),
        )
        training = judge_training(config, config.out)
        told = [entry for entry in run.entries() if entry.kind == "metrics" or is_start(entry)]
        for at in (at for at, entry in enumerate(told) if is_start(entry)):
            row, samples = told[at + 7], range(BATCH)
            batch = training.source.batch(row.step, samples, BATCH)
            loss, _ = training.objective(training.net, batch, CounterRandom(0, row.step, samples))
            assert row.values["train/loss"] == pytest.approx(loss.item(), rel=1e-3)
    finally:
        run.close()


def assert_rows_once(run: Disturbed) -> None:
    """Each row once in the journal, and in MLflow but for the last, which the next call brings."""
    rows = [entry.step for entry in run.entries() if entry.kind == "metrics"]
    assert rows == list(range(1, len(rows) + 1))
    sql = "SELECT step, count(*) FROM metrics WHERE key='train/loss' GROUP BY step ORDER BY step"
    kept = run.folder.query(sql)
    assert kept == [(step, 1) for step in range(1, len(kept) + 1)]
    assert CHECKPOINT_EVERY < len(kept) <= len(rows)
    assert run.folder.query("SELECT status FROM runs") == [("KILLED",)]


def lose_a_node(
    folder: Folder,
    cluster: Cluster,
    job: str,
    words: list[str],
    done: Callable[[], set[Path]],
    actor: str = "",
) -> None:
    """Run `job` on two nodes, kill one of them in mid-work, and let another join.

    Some files before that, kill an actor of the title `actor`; and before that the driver, upon
    which the same command goes on. Asserts that the job ends well, and that no file that `done()`
    had when the driver or the node was lost was written again.
    """
    kept: dict[Path, int] = {}

    def keep() -> None:
        kept.update({path: path.stat().st_mtime_ns for path in done() - kept.keys()})

    def begin() -> Popen[str]:
        two = "--scaling.num_workers", 2
        return folder.start(job, *words, *two, log=log, **cluster.variables)

    def wait_for_three_more() -> None:
        made = len(done())
        wait_for_work(lambda: len(done()) >= made + 3, process)
        assert process.poll() is None

    with (folder.path / "log").open("w+") as log:
        process = begin()
        wait_for_three_more()
        if actor:
            process.kill()
            process.wait()
            keep()
            process = begin()
            wait_for_three_more()
            kill_one(cluster, actor)
            wait_for_three_more()
        cluster.node.kill()
        keep()
        cluster.join()
        code = process.wait()
        log.seek(0)
        assert code == 0, log.read()
    assert kept.keys() < done()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert folder.query("SELECT DISTINCT status FROM runs") == [("FINISHED",)]


def kill_one(cluster: Cluster, actor: str) -> None:
    """SIGKILL of one of the processes of this title, which are one on each node."""
    nodes = (cluster.head, cluster.node)
    every = {k: v for node in nodes for k, v in descendants(node.process.pid).items()}
    found = sorted(pid for pid, title in every.items() if actor in title)
    assert len(found) == 2, every
    os.kill(random.Random(1).choice(found), signal.SIGKILL)


def test_a_sweep(folder: Folder, digits_tree: Path, cluster: Cluster) -> None:
    config = folder.path / "six.yaml"
    config.write_text("space: {guidance_weight: {grid: [-1, 0, 0.5, 1, 2, 4]}}\n")
    settings: dict[str, object] = {
        "config": config,
        "data.root": digits_tree,
        "samples": 5,
        "num_inference_steps": 4,
        "rule": "best",
        "scaling.cpus_per_worker": 1,
    }

    def results(out: str) -> set[Path]:
        return set((folder.path / out).glob("trials/*/result.json"))

    def reports(out: str) -> dict[str, object]:
        return {p.parent.name: json.loads(p.read_text())["reports"] for p in results(out)}

    lose_a_node(
        folder,
        cluster,
        "tune_guidance",
        as_words(settings | {"out": "out"}),
        lambda: results("out"),
    )
    here = settings | {"out": "here", "scaling.num_workers": 0}
    assert folder.run_here("tune_guidance", here).code == 0
    assert len(reports("out")) == 6
    assert reports("out") == reports("here")


def test_zero_shot(folder: Folder, cluster: Cluster) -> None:
    clip = save_clip(folder.path / "clip" / "final.safetensors")
    write_set(folder.path / "set", each=600)
    settings: dict[str, object] = {
        "images": "set/val",
        "pretrained": clip,
        "batch_size": 8,
        "templates": "cifar",
    }

    def parts(out: str) -> set[Path]:
        return set((folder.path / f"{out}.cache").glob("*/*.parquet"))

    words = as_words(settings | {"out": "out", "cache": "out.cache"})
    lose_a_node(folder, cluster, "clip_zero_shot", words, lambda: parts("out"), "MapWorker")
    here = settings | {"out": "here", "cache": "here.cache", "scaling.num_workers": 0}
    assert folder.run_here("clip_zero_shot", here).code == 0
    found, want = (folder.path / out / "predictions" / "cifar" for out in ("out", "here"))
    assert pq.read_table(found).equals(pq.read_table(want))
