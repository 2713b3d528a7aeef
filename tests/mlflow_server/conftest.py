"""One tracking server and one cluster of two nodes for all tests here, and three jobs on them."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clip.small import write_set
from tests.mlflow_server.served import Served
from tests.mlflow_server.two_nodes import TwoNodes


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets, that root's PostgreSQL can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="hw2-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def starting(short_folder: Path) -> Iterator[Served]:
    """The server, on its way up: other things may start meanwhile."""
    served = Served(short_folder)
    yield served
    assert served.stop() == 0
    assert "database system is shut down" in (short_folder / "server/postgres.log").read_text()


@pytest.fixture(scope="session")
def served(starting: Served) -> Served:
    """The server with PostgreSQL, up."""
    starting.wait()
    return starting


@dataclass(frozen=True)
class Jobs:
    """A training, a sweep and a classification that were submitted to the cluster."""

    cluster: TwoNodes
    folder: Path
    ids: dict[str, str]
    ended: dict[str, tuple[str, str]]


@pytest.fixture(scope="session")
def jobs(
    starting: Served,
    short_folder: Path,
    digits_tree: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Jobs]:
    """Amy's node runs the sweep and the classification, Bob's the training; workers on both."""
    (ray_folder := short_folder / "ray").mkdir()
    (folder := short_folder / "jobs").mkdir()
    write_set(folder / "set", each=3)
    (folder / "sweep.yaml").write_text("space: {guidance_weight: {grid: [0, 2]}}\n")
    users = {"first": starting.as_user("amy"), "second": starting.as_user("bob")}
    cluster = TwoNodes(ray_folder, users)
    try:
        cluster.wait()
        request.getfixturevalue("served")  # which was starting meanwhile
        # One worker on each node: two of them do not fit into its CPU.
        scaling = "--scaling.num_workers 2 --scaling.cpus_per_worker 0.6"
        tree = f"--data.root {digits_tree}"
        training = "--train.num_steps 8 --train.batch_size 12 --train.checkpoint_every 4"
        sweep = "--config sweep.yaml --samples 5 --num_inference_steps 8 --rule best"
        words = {
            "train_judge": ("second", f"--out judge {tree} {scaling} {training}"),
            "tune_guidance": ("first", f"--out sweep {tree} {scaling} {sweep}"),
            "clip_zero_shot": ("first", f"--out clip --images set/val {scaling}"),
        }
        ids, ended = dict[str, str](), dict[str, tuple[str, str]]()
        # One after the other: two cores have the nodes, the server and its database besides.
        for name, (node, settings) in words.items():
            ids[name] = cluster.submit(node, folder, f"jobs.{name} {settings}")
            ended[name] = cluster.finish(ids[name])
        yield Jobs(cluster, folder, ids, ended)
    finally:
        cluster.stop()
