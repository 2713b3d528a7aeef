"""What a cluster has room for, node by node, and what is said where others hold it."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import ray
from ray._private.state import state

from hw2.config import ScalingConfig
from hw2.distributed import batch, room, tuning
from hw2.distributed.batch import map_pieces
from hw2.distributed.room import share_of_cluster, tell_if_busy
from hw2.distributed.tuning import _refuse_no_gpu, _resources, run_under_tune
from hw2.errors import ConfigError
from tests.distributed.private_ray import make
from tests.sweeps.toy import make_toy, toy_config


def nodes(monkeypatch: pytest.MonkeyPatch, *found: tuple[float, float]) -> None:
    """A cluster of nodes with these CPUs and GPUs."""
    monkeypatch.setattr(room, "_nodes", lambda: list(found))


def test_a_gpu_that_only_ray_can_see_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes(monkeypatch, (4, 1))
    why = f"torch finds no GPU {os.getpid()}"  # said once in a process
    monkeypatch.setattr(room, "gpu_refusal", lambda: why)
    for _ in range(2):
        assert share_of_cluster(ScalingConfig(), 99) == (4, False)
    assert capsys.readouterr().err == f"computing on the processor: {why}\n"
    with pytest.raises(ConfigError, match=f"use_gpu=true, but {why}: leave it out"):
        share_of_cluster(ScalingConfig(use_gpu=True), 99)
    monkeypatch.setattr(tuning, "gpu_refusal", lambda: why)
    with pytest.raises(ConfigError, match=f"gpus_per_trial=0.25, but {why}: leave it out"):
        _refuse_no_gpu(0.25)
    monkeypatch.setenv("RAY_ADDRESS", "there")  # whose nodes are not this machine
    assert share_of_cluster(ScalingConfig(), 99) == (1, True)
    assert _resources(ScalingConfig(), 0.25, 20) == (4, False, {"cpu": 1.0, "gpu": 0.25})


def test_a_cluster_that_grows_may_be_asked_for_more(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ScalingConfig(num_workers=9, use_gpu=True)
    for address, grows in (("there", "0"), ("", "1")):  # the second is a Ray of one's own
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setenv("HW2_CLUSTER_GROWS", grows)
        with pytest.raises(ConfigError, match="the cluster has no GPU"):
            share_of_cluster(more, 99)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    assert share_of_cluster(more, 99) == (9, True)
    assert share_of_cluster(ScalingConfig(use_gpu=True), 99) == (1, True)
    assert share_of_cluster(ScalingConfig(num_workers=9), 99) == (9, False)
    assert share_of_cluster(ScalingConfig(), 99) == (4, False)  # nobody asked: what is there


def test_no_worker_spans_two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, (4, 0), (4, 0), (4, 0), (4, 0))
    assert share_of_cluster(ScalingConfig(cpus_per_worker=3), 99) == (4, False)
    with pytest.raises(ConfigError, match="has 16 CPUs: it has room for 0 workers"):
        share_of_cluster(ScalingConfig(cpus_per_worker=8), 1)
    nodes(monkeypatch, (64, 0), (2, 8))
    monkeypatch.setenv("RAY_ADDRESS", "there")
    assert share_of_cluster(ScalingConfig(), 99) == (2, True)
    scaling = ScalingConfig()
    assert _resources(scaling, 0.5, 99)[:2] == (2, False)  # the CPUs beside the GPUs are two


@pytest.mark.parametrize(
    ("told", "at_most", "share"),
    [
        ({"use_gpu": False, "min_workers": 1, "num_workers": 2}, 99, (2, False)),
        ({"use_gpu": False, "min_workers": 1, "num_workers": 9}, 99, (3, False)),
        ({}, 0, (1, True)),
        ({"use_gpu": False, "min_workers": 4}, 99, "^scaling.min_workers=4, but .* has 3 CPUs: it"),
        ({"num_workers": 2}, 99, "has 3 CPUs and 1 GPUs: it has room for 1 workers$"),
    ],
)
def test_what_a_small_cluster_gives(
    told: dict[str, Any],
    at_most: int,
    share: tuple[int, bool] | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes(monkeypatch, (3, 1))
    monkeypatch.setenv("RAY_ADDRESS", "there")
    scaling = ScalingConfig(**told)
    if isinstance(share, str):
        with pytest.raises(ConfigError, match=share):
            share_of_cluster(scaling, at_most)
    else:
        assert share_of_cluster(scaling, at_most) == share


def test_what_the_job_holds_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, (3, 0))
    assert share_of_cluster(ScalingConfig(min_workers=1), 99) == (3, False)
    monkeypatch.setattr(room, "held_by_entrypoint", lambda: (1.0, 0.0))
    assert share_of_cluster(ScalingConfig(), 99) == (3, False)
    with pytest.raises(ConfigError, match="min_workers=1 beside --entrypoint-num-cpus"):
        share_of_cluster(ScalingConfig(min_workers=1), 99)


def test_a_sweep_waits_for_what_a_growing_cluster_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, (4, 0))
    gpus = ScalingConfig(num_workers=2, use_gpu=True)
    with pytest.raises(ConfigError, match="but the cluster has no GPU: leave it out"):
        _refuse_no_gpu(0.25)
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setenv("HW2_CLUSTER_GROWS", "1")
    alone = (1, True, {"cpu": 1.0, "gpu": 0.25})
    assert _resources(ScalingConfig(), 0.25, 20) == alone  # else a node would come for each trial
    assert _resources(ScalingConfig(), None, 20)[:2] == (4, True)
    assert _resources(gpus, None, 20) == (2, True, {"cpu": 1.0, "gpu": 1.0})  # two, not 20
    assert _resources(ScalingConfig(num_workers=16), None, 20)[:2] == (16, True)


def test_only_the_jobs_own_node_has_less_by_what_the_job_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = [
        {"NodeID": name, "Alive": name != "lost", "Resources": {"CPU": 4.0, "GPU": 2.0}}
        for name in ("here", "other", "lost", "leaving")
    ]
    monkeypatch.setattr(ray, "nodes", lambda: every)
    monkeypatch.setattr(state, "get_draining_nodes", lambda: {"leaving": 0})
    here = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(room, "held_by_entrypoint", lambda: (1.0, 2.0))
    assert room.cluster_cpus_and_gpus() == (7, 2)
    assert room.fitting(4) == room.fitting(1, 1) - 1 == 1


def test_nodes_without_cpus_are_none_for_tasks_that_take_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpus = {"a": {"CPU": 0.0}, "b": {}, "c": {"CPU": 1.0}, "lost": {}}
    every = [{"NodeID": n, "Alive": n != "lost", "Resources": has} for n, has in cpus.items()]
    monkeypatch.setattr(ray, "nodes", lambda: every)
    assert room.where_cpus_are() == {"ray.io/node-id": "!in(a,b)"}
    monkeypatch.setattr(ray, "nodes", lambda: every[2:])
    assert room.where_cpus_are() is None


def test_who_waits_for_others_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes(monkeypatch, (8, 2))
    room.say_once.cache_clear()
    monkeypatch.setattr(room, "TOLD_SECONDS", 0.0)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 0.5})  # none left: no key
    tell_if_busy(1, 1)
    assert capsys.readouterr().err == ""  # a Ray of one's own
    monkeypatch.setenv("RAY_ADDRESS", "there")
    tell_if_busy(0.5, 0)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        tell_if_busy(1, 1)
    cpus, gpus = capsys.readouterr().err.splitlines()
    assert cpus == "waiting for room: 0.5 of 8 CPUs are free (`ray status`)"
    assert gpus == "waiting for room: 0 of 2 GPUs are free (`ray status`)"


def test_who_waits_for_what_this_job_gave_back_does_not_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes(monkeypatch, (8, 0))
    room.say_once.cache_clear()
    told = [{}, {"CPU": 8.0}]
    monkeypatch.setattr(ray, "available_resources", lambda: told.pop(0))
    monkeypatch.setenv("RAY_ADDRESS", "there")
    tell_if_busy(1, 0)
    assert capsys.readouterr().err == "" and told == []


class Told(Exception):
    """Of what has to wait: CPUs and GPUs of a worker."""


def test_drawing_and_sweeps_tell_what_they_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(cpus: float, gpus: float) -> NoReturn:
        raise Told(cpus, gpus)

    nodes(monkeypatch, (8, 2))
    monkeypatch.setenv("RAY_ADDRESS", "there")
    for module in (batch, tuning):
        monkeypatch.setattr(module, "tell_if_busy", tell)
    monkeypatch.setattr(batch, "connected", lambda scaling: contextlib.nullcontext())
    for name in ("_quiet_tune", "mend_controller"):
        monkeypatch.setattr(tuning, name, lambda: None)
    scaling = ScalingConfig(num_workers=2, cpus_per_worker=3)
    with pytest.raises(Told, match=r"^\(3.0, 1\)$"):
        list(map_pieces(make, [{"number": 1}], scaling))
    config = toy_config(tmp_path, gpus_per_trial=0.5, scaling={"num_workers": 1})
    with pytest.raises(Told, match=r"^\(1.0, 0.5\)$"):
        run_under_tune(make_toy(tmp_path), [{"x": 1.0}], config, tmp_path, print)
