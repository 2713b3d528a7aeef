"""A Ray of one's own: closed to others, in order, and honest about what it has."""

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hw2.config import ScalingConfig
from hw2.distributed import devices, session, tuning
from hw2.distributed.batch import PIECE, _actor, _on_batch, map_pieces
from hw2.distributed.session import (
    clear_ray_storage,
    connected,
    driver_device,
    number_format,
    ray_storage,
    share_of_cluster,
)
from hw2.distributed.tuning import _refuse_no_gpu, _resources
from hw2.errors import ConfigError
from tests.distributed.private_ray import make, too_large
from tests.jobs.command import ROOT

LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_private_ray(tmp_path: Path) -> None:
    environment = dict(os.environ, HOME=str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        environment.pop(name, None)  # as a user has it
    done = subprocess.run(
        [sys.executable, "-m", "tests.distributed.private_ray"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    print(done.stderr, file=sys.stderr)
    assert done.returncode == 0
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["unused"] == []
    assert seen["SIGTERM is ours"] and seen["still there"] and seen["shut down"]
    assert seen["nested"] == seen["too many"]
    assert seen["worker"] == [seen["address"], True]
    assert seen["store"] == pytest.approx(1, rel=0.01)
    assert seen["numbers"] == [5, 3, 8, 1, 9]  # in order, whoever was first
    assert seen["squares"] == [[[n * n] * 2] * 2 for n in (5, 3, 8, 1, 9)]
    assert seen["listening"]
    assert set(seen["listening"]) <= LOOPBACK
    assert not list(tmp_path.iterdir())  # no token is left behind
    assert seen["too many"].startswith("scaling.num_workers=1000, but the cluster has ")
    assert "scaling.cpus_per_worker=600" in seen["too thick"]
    if "not refused" not in seen["no GPU"]:
        assert seen["no GPU"] == "scaling.use_gpu=true, but the cluster has no GPU: leave it out"
    assert seen["error"] == "number=13 brings bad luck: leave it out"
    assert seen["error before"] == "number=13 cannot be prepared"
    assert seen["prepared"] == seen["prepared here"] == [25, 23, 28, 21, 29]
    assert seen["prepared beside others"] == seen["prepared"]  # which held the CPUs
    assert seen["elsewhere"]  # at the same time, by other processes
    assert seen["deadly"].startswith("a worker died 2 times at the same piece of work")
    assert "at the same piece of work, or 2 times in all" in seen["stillborn"]
    assert "CUDA out of memory" in seen["unmade"] and "same piece" not in seen["unmade"]
    assert seen["too large"].startswith("the GPU has too little memory for this: free it of other")


def test_what_all_processes_of_ray_import_is_light() -> None:
    program = "import sys, hw2.distributed.local_worker; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert "hw2.distributed.local_worker" in (loaded := told.stdout.split())
    assert not {"torch", "pyarrow", "pydantic", "ray", "numpy"} & set(loaded)


def test_no_workers_want_no_ray() -> None:
    here = ScalingConfig(num_workers=0)
    with connected(here):
        results = list(map_pieces(make, [{"number": 4}, {"number": 2}], here))
    assert [result["number"] for result in results] == [4, 2]
    assert int(results[0]["squares"][1, 1]) == 16


def test_no_workers_refuse_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = "use_gpu=true, but torch finds no GPU here, or a driver that is too old for it: leave"
    with (
        pytest.raises(ConfigError, match=told),
        connected(ScalingConfig(num_workers=0, use_gpu=True)),
    ):
        pytest.fail("too late")


OLD = "The NVIDIA driver on your system is too old (found version 12040)"
ODD = "Unexpected error from cudaGetDeviceCount(). Did you? Error 802: system not yet initialized"


@pytest.mark.parametrize(
    ("visible", "warned", "why"),
    [
        ("0", f"CUDA initialization: {OLD}. Please update your driver", f"no GPU here ({OLD})"),
        ("0", f"CUDA initialization: {ODD} (Triggered internally at x)", f"no GPU here ({ODD})"),
        ("0", "of something else", "no GPU here, or a driver that is too old for it"),
        ("", None, "CUDA_VISIBLE_DEVICES= hides all GPUs"),
        ("-1", None, "CUDA_VISIBLE_DEVICES=-1 hides all GPUs"),
    ],
)
def test_why_there_is_no_gpu_is_told(
    visible: str, warned: str | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_available() -> bool:
        if warned:
            warnings.warn(warned, stacklevel=1)
        return False

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert str(devices.gpu_refusal()).removeprefix("torch finds ") == why


def test_a_gpu_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_device_capability() -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nSearch for it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", get_device_capability)
    why = "the GPU does not answer (CUDA error: uncorrectable ECC error encountered)"
    assert devices.gpu_refusal() == why


def test_an_actor_on_a_node_whose_gpu_is_of_no_use_names_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "gpu_refusal", lambda: "the driver is too old")
    monkeypatch.setattr("platform.node", lambda: "there")
    batch, make = {PIECE: [pickle.dumps({})]}, _actor(lambda on_gpu: lambda piece: piece)
    told = pickle.loads(make(True)(batch)[PIECE][0])
    assert isinstance(told, ConfigError)
    assert str(told).startswith("node there: the driver is too old: mend that, or give")
    assert pickle.loads(make(False)(batch)[PIECE][0]) == {}


def test_a_gpu_with_too_little_memory_is_told_in_a_line() -> None:
    def make(on_gpu: bool) -> Any:
        def work(piece: dict[str, Any]) -> dict[str, Any]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

        return work

    told = pytest.raises(ConfigError, match="too little memory for this: give each piece of work")
    with told:
        list(map_pieces(make, [{}], ScalingConfig(num_workers=0)))
    batch = {PIECE: [pickle.dumps({})]}  # as an actor has it
    with told:
        raise pickle.loads(_on_batch(make(True), batch)[PIECE][0])
    with pytest.raises(ConfigError, match=r"this: free it of other programs, .*use_gpu false$"):
        list(map_pieces(too_large, [{}], ScalingConfig(num_workers=0)))


@pytest.mark.parametrize(("told", "threads"), [({}, 1), ({"cpus_per_worker": 2}, 2)])
def test_no_workers_compute_with_the_threads_of_one(told: dict[str, int], threads: int) -> None:
    def count(on_gpu: bool) -> Any:
        return lambda piece: {"threads": torch.get_num_threads()}

    before = torch.get_num_threads()
    torch.set_num_threads(3)  # as the machine would have it
    try:
        here = ScalingConfig(num_workers=0, **told)
        assert list(map_pieces(count, [{}], here)) == [{"threads": threads}]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("num_workers", "use_gpu", "joined", "device"),
    [
        (0, None, False, "cpu"),
        (0, True, False, "cuda"),
        (None, None, False, "cuda"),
        (None, False, False, "cpu"),
        (None, None, True, "cpu"),
        (None, True, True, "cuda"),
    ],
)
def test_the_job_itself_computes_where_its_workers_did(
    num_workers: int | None,
    use_gpu: bool | None,
    joined: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "joining", lambda: joined)
    for module in (session, devices):
        monkeypatch.setattr(module, "gpu_refusal", lambda: None)
    scaling = ScalingConfig(num_workers=num_workers, use_gpu=use_gpu)
    assert driver_device(scaling).type == device
    if num_workers is None:  # the head of a cluster may have none
        monkeypatch.setattr(session, "gpu_refusal", lambda: "none")
        assert driver_device(scaling).type == "cpu"


@pytest.mark.parametrize("native", [False, True])
def test_auto_is_named_by_what_it_means_here_but_not_for_a_cluster(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw2.precision.wants_bf16", lambda precision, device: native)
    scaling = ScalingConfig(num_workers=0)
    assert number_format("auto", scaling) == ("bf16" if native else "fp32")
    assert number_format("fp32", scaling) == "fp32"
    monkeypatch.setattr(session, "joining", lambda: True)
    assert number_format("auto", scaling) == "auto"


@pytest.mark.parametrize(
    ("capability", "made_for", "runs"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 9), ["sm_75", "sm_80", "sm_86"], True),  # code of the same generation, older
        ((6, 1), ["sm_75", "sm_80"], False),
        ((10, 3), ["sm_90a", "sm_100", "sm_120"], True),
        ((12, 1), ["sm_90", "compute_90"], True),  # made into its own when it is first used
        ((12, 1), ["sm_90", "sm_100"], False),
    ],
)
def test_which_gpus_torch_is_made_for(
    capability: tuple[int, int],
    made_for: list[str],
    runs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: made_for)
    why = devices.gpu_refusal()
    told = f"Card is of compute capability {capability[0]}.{capability[1]}, and torch "
    assert why is None if runs else why is not None and why.startswith(told)


def test_a_gpu_that_only_ray_can_see_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes(monkeypatch, (4, 1))
    why = f"torch finds no GPU {os.getpid()}"  # said once in a process
    monkeypatch.setattr(session, "gpu_refusal", lambda: why)
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


def test_a_local_ray_takes_the_cores_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    told = []
    for given in (range(64), {3, 5}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, given=given: set(given))
        told.append(session._own_cores())
    assert told == [None, 2]  # None: Ray counts, which knows of containers


def test_a_large_machine_holds_more_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "SHARED_MEMORY", tmp_path)
    told = []
    for cores, free in ((2, 2**34), (64, 2**34), (64, 2**31), (None, 0)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(session.shutil, "disk_usage", lambda path, usage=usage: usage)
        told.append(session._object_store_bytes() // 2**20)
    assert told == [200, 1600, 512, 200]
    monkeypatch.undo()
    monkeypatch.setattr(session, "SHARED_MEMORY", tmp_path / "none")  # another system
    assert session._object_store_bytes() == 200 * 2**20


def test_what_ray_keeps_for_itself_lies_in_out_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    assert ray_storage(out, None) == {"storage_path": str(tmp_path / "out" / "ray")}
    (out / "ray" / "tune").mkdir(parents=True)
    (out / "trials").mkdir()
    for _ in range(2):
        clear_ray_storage(out, None)
        assert [path.name for path in out.iterdir()] == ["trials"]


def test_nothing_to_do_starts_nothing() -> None:
    assert list(map_pieces(make, [], ScalingConfig(num_workers=2))) == []


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


def nodes(monkeypatch: pytest.MonkeyPatch, *found: tuple[float, float]) -> None:
    """A cluster of nodes with these CPUs and GPUs."""
    monkeypatch.setattr(session, "_nodes", lambda: list(found))


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
    monkeypatch.setattr(session, "held_by_entrypoint", lambda: (1.0, 0.0))
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
