"""What Ray Data and the work are told, without a cluster."""

import os
import subprocess
import sys
from typing import Any

import pytest
import ray.data

from hw2.config import ScalingConfig
from hw2.distributed import devices
from hw2.distributed.batch import _is_fast, _prepared_at_once, _set_up_ray_data, map_pieces
from tests.chaos.cluster import Cluster
from tests.jobs.command import ROOT

ON_NODES = """
import subprocess, sys
import ray
from hw2.config import ScalingConfig
from hw2.distributed import batch, room
from hw2.distributed.session import connected

class Holder:
    def where(self):
        return ray.get_runtime_context().get_node_id()

def make(on_gpu):
    return lambda piece: piece

def prepare(piece):
    return {"node": ray.get_runtime_context().get_node_id()}

batch._is_fast = lambda use_gpu, cpus: True  # as of a GPU
scaling = ScalingConfig(num_workers=1)
with connected(scaling):
    here = ray.get_runtime_context().get_node_id()
    found = {piece["node"] for piece in batch.map_pieces(make, [{}] * 12, scaling, prepare)}
    holder = ray.remote(num_cpus=1)(Holder).remote()
    node = ray.get(holder.where.remote())
    print("prepared where CPUs are:", found == {node} != {here})
    print("room for", room.fitting(1))
    subprocess.run([*sys.argv[1:], "--node-id", node], check=True)
    print("alive:", sum(n["Alive"] for n in ray.nodes()), "room for", room.fitting(1))
"""


@pytest.mark.parametrize(
    ("num_pieces", "asked", "cpus", "found"),
    [
        (20, 2, 8, 8),
        (3, 2, 8, 3),  # of a larger pool Ray Data warns
        (20, 8, 4, 8),  # a cluster that grows will have as many
        (20, 0.5, 0, 1),
    ],
)
def test_how_many_pieces_are_prepared_at_once(
    num_pieces: int, asked: float, cpus: int, found: int
) -> None:
    assert _prepared_at_once(num_pieces, asked, cpus) == found


@pytest.mark.parametrize(
    ("use_gpu", "cpus", "found"),
    [(True, 1, True), (False, 2, True), (False, 1, False), (False, 0.5, False)],
)
def test_an_actor_of_one_thread_prepares_itself(use_gpu: bool, cpus: float, found: bool) -> None:
    assert _is_fast(use_gpu, cpus) is found


@pytest.mark.parametrize(("told", "seconds"), [(None, -1), ("120", 5)])
def test_a_slow_piece_ends_no_job_unless_a_user_says_when(
    told: str | None, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S"
    monkeypatch.setenv(name, told) if told else monkeypatch.delenv(name)
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "execution_no_progress_timeout_s", 5)
    monkeypatch.setattr(context, "enable_progress_bars", True)
    monkeypatch.setattr(context.execution_options, "preserve_order", False)
    _set_up_ray_data()
    assert context.execution_no_progress_timeout_s == seconds
    assert context.execution_options.preserve_order and not context.enable_progress_bars


@pytest.mark.parametrize("use_gpu", [True, None])
def test_the_work_is_told_whether_it_is_on_a_gpu(
    use_gpu: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(on_gpu: bool) -> Any:
        return lambda piece: {"on_gpu": on_gpu}

    monkeypatch.setattr(devices, "gpu_refusal", lambda: None)
    here = ScalingConfig(num_workers=0, use_gpu=use_gpu)
    assert list(map_pieces(make, [{}], here)) == [{"on_gpu": bool(use_gpu)}]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nodes_without_cpus_prepare_nothing_and_those_that_go_are_no_room() -> None:
    cluster = Cluster(cpus=0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", ON_NODES, *cluster.draining(200)],
            cwd=ROOT, env=os.environ | cluster.variables, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        cluster.close()
    print(done.stdout, done.stderr, file=sys.stderr)
    said = ["prepared where CPUs are: True", "room for 1", "alive: 2 room for 0"]
    assert [line for line in done.stdout.splitlines() if line in said] == said
