"""Episodes: a training in a folder of its own that is struck several times, and then must be whole.

What is random is drawn from the episode's `draw`; what is done is in the lists that it is given.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from hw2.checkpoint import CheckpointStore
from hw2.tracking import prepare_store
from tests.chaos.cluster import Cluster
from tests.chaos.faults import kill_head, kill_job, kill_raylet, kill_worker, stop_worker
from tests.chaos.faults import take_mlflow_away as _take_mlflow_away
from tests.chaos.training import Disturbed, Point, undisturbed
from tests.jobs.bare import STEPS
from tests.jobs.command import Folder
from tests.stores import Server

LAST = STEPS - 4  # the latest step that is aimed at

Strike = Callable[[Disturbed, int], None]
ON_CLUSTER = {"raylet": kill_raylet, "head": kill_head}
LOCAL: dict[str, Strike] = {"driver": kill_job, "worker": kill_worker, "stop": stop_worker}


class Ground:
    """What episodes share: the data, and what trainings on it make when nobody disturbs them."""

    def __init__(self, path: Path, tree: Path) -> None:
        self.path, self.tree, self._made = path, tree, 0
        self.newest: Disturbed
        self._want: dict[int, Path] = {}

    def training(self, workers: int, draw: Random, **variables: str) -> Disturbed:
        """A training in a new folder."""
        if (alone := max(1, workers)) not in self._want:
            self._want[alone] = undisturbed(self.path / f"want-{alone}", self.tree, alone)
        self._made += 1
        folder = Folder(self.path / f"episode-{self._made}")
        self.newest = Disturbed(folder, self.tree, workers, self._want[alone], draw, variables)
        return self.newest


def _struck(run: Disturbed, strikes: Sequence[Strike]) -> list[Point]:
    """Start, deal the blows one after the other, and see that nothing is lost."""
    try:
        run.start()
        for number, strike in enumerate(strikes, start=1):
            strike(run, LAST * number // len(strikes))
        return run.finish()
    finally:
        run.close()


def bare(ground: Ground, draw: Random, count: int) -> list[Point]:
    """A job without Ray, killed `count` times; all that it says is progress and results."""
    points = _struck(ground.training(0, draw), [kill_job] * count)
    said = ground.newest.say()
    told = ("train_judge: ", "packing: ", "MLflow: ", *"┌│├└")
    assert all(line.startswith(told) for line in said.splitlines()), said
    return points


def local(ground: Ground, draw: Random, faults: Sequence[str], **variables: str) -> list[Point]:
    """Two workers of a local Ray; `faults` are names of LOCAL."""
    return _struck(ground.training(2, draw, **variables), [LOCAL[name] for name in faults])


def on_cluster(ground: Ground, draw: Random, faults: Sequence[str]) -> list[Point]:
    """Two workers on two nodes; `faults` are names of ON_CLUSTER."""
    cluster = Cluster()
    try:
        run = ground.training(2, draw, **cluster.variables)

        def strike(name: str) -> Strike:
            return lambda run, last: ON_CLUSTER[name](run, last, cluster)

        return _struck(run, [strike(name) for name in faults])
    finally:
        cluster.close()


def without_mlflow(ground: Ground, draw: Random, seconds: float) -> list[Point]:
    """A job whose tracking server goes away."""
    run = ground.training(0, draw)
    store = f"sqlite:///{run.folder.path}/mlflow.db"
    prepare_store(store, "train_judge")
    server = Server(run.folder.path, store)
    run.variables["MLFLOW_TRACKING_URI"] = server.uri
    server.start()
    server.wait()
    try:
        return _struck(run, [lambda run, last: _take_mlflow_away(run, last, server, seconds)])
    finally:
        server.kill()


def diverging(ground: Ground, draw: Random) -> list[Point]:
    """Weights that grow until the loss is no number, after 6 to 22 steps: one line is told."""
    run = ground.training(0, draw)
    run.settings = {"train.weight_decay": 10 ** draw.uniform(4, 5.75)}
    try:
        run.start()
        code = run.job.wait()
        said, step = run.say(), run.step()
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(errors) == 1, said
        assert "Traceback" not in said
        assert f"step {step + 1}: " in errors[0]
        kept = CheckpointStore(run.out / "checkpoints").latest()
        assert kept is not None and step - kept.step <= 5
        assert all(bool(value.isfinite().all()) for value in kept.tensors.values())
        losses = [e.values["train/loss"] for e in run.entries() if e.kind == "metrics"]
        assert len(losses) == step and all(map(math.isfinite, losses))
        assert run.folder.query("SELECT status FROM runs") == [("FAILED",)]
        return [Point("a loss that is no number", f"step {step + 1}", 0, math.nan, False)]
    finally:
        run.close()
