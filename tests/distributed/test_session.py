"""A Ray of one's own: closed to others, in order, and honest about what it has."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hw2.config import ScalingConfig
from hw2.distributed import session
from hw2.distributed.batch import PIECE, _on_batch, map_pieces
from hw2.distributed.session import clear_ray_storage, connected, ray_storage
from hw2.errors import ConfigError
from tests.distributed.private_ray import make, too_large
from tests.jobs.command import ROOT

LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_private_ray(tmp_path: Path) -> None:
    environment = dict(os.environ, HOME=str(tmp_path))
    environment["RAY_local_fs_capacity_threshold"] = "0"  # as if the disk were full
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
    assert seen["by themselves"] and seen["elsewhere"]
    assert seen["prepared for them"] == seen["prepared"]
    assert seen["prepared beside others"] == seen["prepared"]  # which held the CPUs
    assert "UserWarning" not in done.stderr  # of fewer pieces than are prepared at once
    assert seen["deadly"].startswith("a worker died 2 times at the same piece of work")
    assert "at the same piece of work, or 2 times in all" in seen["stillborn"]
    assert "CUDA out of memory" in seen["unmade"] and "same piece" not in seen["unmade"]
    assert seen["full"].startswith("a node's object store is full, and so is the disk that Ray")
    assert "Ray Core internal code" not in done.stderr and "Traceback" not in done.stderr
    assert seen["too large"].startswith("the GPU has too little memory for this: free it of other")


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
