"""What the nodes of the connected cluster have room for, and whether others hold it now."""

import math
import os
import time

from hw2.config import ScalingConfig
from hw2.distributed.devices import gpu_refusal, say_once
from hw2.distributed.entrypoint import held_by_entrypoint
from hw2.distributed.reach import joining
from hw2.errors import ConfigError

TOLD_SECONDS = 2.0  # until Ray knows of what was given back, as by this job's own training


def share_of_cluster(scaling: ScalingConfig, at_most: int) -> tuple[int, bool]:
    """Number of workers, and whether each has a GPU: as told, else what fits, up to `at_most`.

    With `min_workers`, what fits up to what is told, and no fewer than that.

    Raises ConfigError if more are told than fit, or if workers may come and go while the job itself
    holds CPUs: Ray would wait for them without end. A cluster that grows (HW2_CLUSTER_GROWS, as in
    cluster.yaml) is trusted to bring them: Ray does not tell how far it can grow.
    """
    cpus, gpus = cluster_cpus_and_gpus()
    grows = growing()
    use_gpu = gpus > 0 if scaling.use_gpu is None else scaling.use_gpu
    if use_gpu and not gpus and not grows:
        raise ConfigError("scaling.use_gpu=true, but the cluster has no GPU: leave it out")
    if use_gpu and not joining() and (why := gpu_refusal()):  # of a cluster's nodes, Ray's word
        if scaling.use_gpu:
            raise ConfigError(f"scaling.use_gpu=true, but {why}: leave it out")
        say_once(f"computing on the processor: {why}")
        use_gpu = False
    if scaling.min_workers is not None and any(held_by_entrypoint()):
        raise ConfigError(
            f"scaling.min_workers={scaling.min_workers} beside --entrypoint-num-cpus or -gpus: Ray "
            "takes what the job itself holds for room, and waits for it: leave one of them out"
        )
    have = fitting(scaling.cpus_per_worker or 1, int(use_gpu))
    need = "num_workers" if scaling.min_workers is None else "min_workers"
    if (getattr(scaling, need) or 1) > have and not grows:
        told = {need: getattr(scaling, need), "cpus_per_worker": scaling.cpus_per_worker}
        asked = " and ".join(f"scaling.{k}={v:g}" for k, v in told.items() if v is not None)
        has = f"{cpus} CPUs" + f" and {gpus} GPUs" * use_gpu
        raise ConfigError(f"{asked}, but the cluster has {has}: it has room for {have} workers")
    if scaling.num_workers and scaling.min_workers is None:
        return scaling.num_workers, use_gpu
    return max(1, min(have, scaling.num_workers or at_most)), use_gpu


def cluster_cpus_and_gpus() -> tuple[int, int]:
    """Whole CPUs and GPUs of the connected cluster, without what a submitted job itself holds."""
    nodes = _nodes()
    return int(sum(cpus for cpus, _ in nodes)), int(sum(gpus for _, gpus in nodes))


def fitting(cpus: float, gpus: float = 0) -> int:
    """How many workers of so many CPUs and GPUs the nodes have room for; none spans two nodes."""
    most = ((c / cpus, g / gpus if gpus else math.inf) for c, g in _nodes())
    return sum(max(0, int(min(here))) for here in most)


def _nodes() -> list[tuple[float, float]]:
    """CPUs and GPUs of each node that takes work, without what a submitted job holds on its own."""
    import ray
    from ray._private.state import state

    held, here = held_by_entrypoint(), ray.get_runtime_context().get_node_id()
    leaving = state.get_draining_nodes()
    found = []
    for node in ray.nodes():
        if node["Alive"] and node["NodeID"] not in leaving:
            own = held if node["NodeID"] == here else (0.0, 0.0)
            has = node["Resources"]
            found.append((has.get("CPU", 0) - own[0], has.get("GPU", 0) - own[1]))
    return found


def where_cpus_are() -> dict[str, str] | None:
    """What labels Ray is to look for in a node for tasks that take no CPU; None: there are enough.

    A node without CPUs, as a head that is to do nothing else, would get such tasks too.
    """
    import ray

    none = [n["NodeID"] for n in ray.nodes() if n["Alive"] and not n["Resources"].get("CPU")]
    return {"ray.io/node-id": f"!in({','.join(none)})"} if none else None


def growing() -> bool:
    """Whether there is a cluster to join that is trusted to bring nodes when they are asked for."""
    return joining() and os.environ.get("HW2_CLUSTER_GROWS") == "1"


def tell_if_busy(cpus: float, gpus: float) -> None:
    """Say that a worker of so many CPUs and GPUs has to wait, where others hold the cluster's.

    Ray Train says so itself; Ray Data and Tune wait without a word.
    """
    import ray

    if not joining():
        return
    wanted, until = {"CPU": cpus, "GPU": gpus}, time.monotonic() + TOLD_SECONDS
    free = ray.available_resources()
    while any(free.get(kind, 0) < wanted[kind] for kind in wanted) and time.monotonic() < until:
        time.sleep(0.1)
        free = ray.available_resources()
    for kind, count in zip(wanted, cluster_cpus_and_gpus(), strict=True):
        if (now := free.get(kind, 0)) < wanted[kind]:
            say_once(f"waiting for room: {now:g} of {count} {kind}s are free (`ray status`)")
