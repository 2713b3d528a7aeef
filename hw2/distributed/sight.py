"""Whether all nodes of the cluster see the same files."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hw2.errors import ConfigError

ANSWER_SECONDS = 60.0  # a node that has not worked yet has to start a process


def _unseen(path: Path, or_uri: bool = True) -> ConfigError:
    other = ", or a URI as s3://bucket/folder" if or_uri else ""
    return ConfigError(
        f"{path} is not on all nodes of the cluster: give a folder that they share (NFS){other}"
    )


def refuse_unseen(path: Path, or_uri: bool = True) -> None:
    """Raise ConfigError unless all nodes of the connected cluster have the same folder at `path`.

    It need not be there yet. A passing file tells: under the same path another node may have
    another disk. Without a cluster, or with this node alone, nothing is asked. `or_uri`: whether
    a bucket would do in its place.
    """
    if nodes := _other_nodes():
        path = path.expanduser().absolute()
        folder = next(folder for folder in (path, *path.parents) if folder.is_dir())
        try:
            with tempfile.NamedTemporaryFile(prefix=".seen-", dir=folder) as probe:
                seen = _all_have(Path(probe.name), nodes)
        except OSError:
            return  # it cannot be written at all, which the job will say
        if not seen:
            raise _unseen(path, or_uri)


def refuse_missing(*paths: Path) -> None:
    """Raise ConfigError if one of `paths`, which are here, is not on all nodes too."""
    if nodes := _other_nodes():
        for path in paths:
            if not _all_have(path.expanduser().absolute(), nodes):
                raise _unseen(path)


def refuse_other_disk(file: Path, content: str, or_uri: bool = True) -> None:
    """Raise ConfigError unless `file` has this content, as the driver has read it.

    For workers: their node may have joined after the driver has asked all that there were.
    """
    try:
        same = file.read_text() == content
    except OSError:
        same = False
    if not same:
        raise _unseen(file.parent, or_uri)


def _other_nodes() -> list[str]:
    if "ray" not in sys.modules:
        return []
    import ray

    if not ray.is_initialized():
        return []
    here = ray.get_runtime_context().get_node_id()
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]


def _all_have(path: Path, nodes: list[str]) -> bool:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    has = ray.remote(num_cpus=0, max_retries=0)(os.path.exists)
    asked = [
        has.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(path)
        )
        for node in nodes
    ]
    ready, waiting = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
    for task in waiting:
        ray.cancel(task, force=True)
    if waiting:
        raise ConfigError(
            f"{len(waiting)} of {len(nodes)} other nodes do not answer within {ANSWER_SECONDS:g} s:"
            " look at `ray status`"
        )
    return all(_answer(task) for task in ready)


def _answer(task: Any) -> bool:
    """What a node says; True of one that is drained or lost, which gets no work."""
    import ray

    try:
        return ray.get(task)
    except (
        ray.exceptions.NodeDiedError,
        ray.exceptions.TaskUnschedulableError,
        ray.exceptions.WorkerCrashedError,
    ):
        return True
