"""python -m tests.distributed.private_ray: use a local Ray as jobs do, and tell what was seen."""

import contextlib
import gc
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from hw2.config import ScalingConfig
from hw2.distributed import batch
from hw2.distributed.batch import map_pieces
from hw2.distributed.room import cluster_cpus_and_gpus, share_of_cluster
from hw2.distributed.session import _object_store_bytes, connected
from hw2.errors import ConfigError, DataError, StorageError
from hw2.pieces import Work
from tests.jobs.command import descendants


def open_ports(pids: set[int]) -> list[str]:
    """Local addresses at which one of `pids` listens."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found += psutil.Process(pid).net_connections("tcp")
    return [one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN]


def idle_workers() -> list[str]:
    """Ray's workers that wait for work."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(psutil.Process(pid).cmdline()).strip())
    return [line for line in found if line == "ray::IDLE"]


def make(on_gpu: bool) -> Any:
    """A worker that squares, refuses 13, and dies of 666."""

    def work(piece: dict[str, Any]) -> dict[str, Any]:
        if piece["number"] == 13:
            raise DataError("number=13 brings bad luck: leave it out")
        if piece["number"] == 666:
            os._exit(137)
        return {**piece, "pid": os.getpid(), "squares": np.full((2, 2), piece["number"] ** 2)}

    return work


def stillborn(on_gpu: bool) -> Any:
    """A worker that is killed while it loads its model."""
    os._exit(137)


def unmade(on_gpu: bool) -> Any:
    """A worker whose model does not load."""
    raise RuntimeError("CUDA out of memory")


def too_large(on_gpu: bool) -> Any:
    """A worker whose model the GPU has no room for."""
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def prepare(piece: dict[str, Any]) -> dict[str, Any]:
    """Adds twenty, and refuses 13; says which process it was."""
    if piece["number"] == 13:
        raise DataError("number=13 cannot be prepared")
    return {**piece, "number": piece["number"] + 20, "by": os.getpid()}


def until_refused(
    pieces: list[dict[str, Any]], scaling: ScalingConfig, stage: Work | None = None
) -> tuple[list[dict[str, Any]], str]:
    """What is made of `pieces`, and what is said to a 13 after them, by the same actors."""
    results = []
    try:
        for result in map_pieces(make, [*pieces, {"number": 13}], scaling, stage):
            results.append(result)
    except DataError as error:
        return results, str(error)
    return results, "not refused"


def swell(piece: dict[str, Any]) -> dict[str, Any]:
    """More than the object store holds."""
    return {**piece, "more": np.zeros(_object_store_bytes() + 2**20, np.uint8)}


class Other:
    """An actor of another job."""

    def here(self) -> bool:
        """Whether it has begun."""
        return True


def beside_others(pieces: list[dict[str, Any]], begun: Path) -> list[int]:
    """What is prepared and worked on while others hold all CPUs but that of the one worker.

    The file `begun` tells that this has begun, for which all that is prepared waits.
    """
    import ray

    def make_and_tell(on_gpu: bool) -> Any:
        begun.touch()
        return make(on_gpu)

    def prepare_late(piece: dict[str, Any]) -> dict[str, Any]:
        while not begun.exists():
            time.sleep(0.1)
        return prepare(piece)

    gc.collect()  # the actors of a run that failed may hang on its traceback, and hold a CPU
    other = ray.remote(num_cpus=cluster_cpus_and_gpus()[0] - 1)(Other).remote()
    ray.get(other.here.remote())
    results = list(map_pieces(make_and_tell, pieces, ScalingConfig(num_workers=1), prepare_late))
    ray.kill(other)
    return [result["number"] for result in results]


def refusal(**scaling: Any) -> str:
    """What `share_of_cluster` says against these settings."""
    try:
        return f"not refused: {share_of_cluster(ScalingConfig(**scaling), 1)}"
    except ConfigError as error:
        return str(error)


def nested_refusal(**scaling: Any) -> str:
    """What a block within says that wants these settings of the Ray that is connected."""
    try:
        with connected(ScalingConfig(**scaling)):
            return "not refused"
    except ConfigError as error:
        return str(error)


def main() -> None:
    """Print one JSON object."""
    seen: dict[str, Any] = {}
    one, two = (ScalingConfig(num_workers=count, cpus_per_worker=1) for count in (1, 2))
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    mine = signal.getsignal(signal.SIGTERM)
    with connected(two), connected(two):
        import ray  # not before its environment is set

        time.sleep(2)
        seen["unused"] = idle_workers()
        seen["SIGTERM is ours"] = signal.getsignal(signal.SIGTERM) is mine
        seen["nested"] = nested_refusal(num_workers=1000)
        seen["still there"] = ray.is_initialized()
        seen["address"] = ray.get_runtime_context().gcs_address
        seen["store"] = ray.cluster_resources()["object_store_memory"] / _object_store_bytes()
        pieces = [{"number": number} for number in (5, 3, 8, 1, 9)]
        results, seen["error"] = until_refused(pieces, two)
        seen["numbers"] = [int(result["number"]) for result in results]
        seen["squares"] = [np.asarray(result["squares"]).tolist() for result in results]
        seen["listening"] = open_ports({os.getpid(), *descendants(os.getpid())})
        seen["too many"] = refusal(num_workers=1000)
        seen["too thick"] = refusal(num_workers=2, cpus_per_worker=600)
        seen["no GPU"] = refusal(use_gpu=True)
        batch.MAX_DEATHS = 1
        try:
            list(map_pieces(make, [{"number": 666}], two))
        except ConfigError as error:
            seen["deadly"] = str(error)
        batch.MAX_RESTARTS = 1
        try:
            list(map_pieces(stillborn, pieces[:1], two))
        except ConfigError as error:
            seen["stillborn"] = str(error)
        try:
            list(map_pieces(unmade, pieces[:1], two))
        except Exception as error:
            seen["unmade"] = str(error)
        try:
            list(map_pieces(too_large, pieces[:1], two))
        except Exception as error:
            seen["too large"] = str(error)
        try:
            list(map_pieces(make, pieces[:1], two, swell))
        except StorageError as error:
            seen["full"] = str(error)
        results, seen["error before"] = until_refused(pieces, one, prepare)
        seen["prepared"] = [result["number"] for result in results]
        seen["by themselves"] = all(result["by"] == result["pid"] for result in results)
        batch._is_fast = lambda use_gpu, cpus: True  # as with a GPU
        results = list(map_pieces(make, pieces, one, prepare))
        seen["prepared for them"] = [result["number"] for result in results]
        seen["elsewhere"] = all(
            result["by"] not in (os.getpid(), result["pid"]) for result in results
        )
        with tempfile.TemporaryDirectory() as folder:
            seen["prepared beside others"] = beside_others(pieces, Path(folder) / "begun")
        alone = map_pieces(make, pieces, ScalingConfig(num_workers=0), prepare)
        seen["prepared here"] = [result["number"] for result in alone]
    seen["shut down"] = not ray.is_initialized()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
