"""Whether all nodes of the cluster see the same files."""

import sys
import tempfile
from pathlib import Path

from hw2.errors import ConfigError

ANSWER_SECONDS = 60.0  # a node that has not worked yet has to start a process


def unseen(path: Path) -> ConfigError:
    """The refusal of a path that is this machine's own."""
    return ConfigError(
        f"{path} is not on all nodes of the cluster: give a folder that they share (NFS), or a URI "
        "as s3://bucket/folder"
    )


def refuse_unseen(*paths: Path) -> None:
    """Raise ConfigError if a node of the connected cluster does not see what this one has there.

    Where a folder is, or would be made, a passing file tells: under the same path another node may
    have another disk. Without a cluster, or with this node alone, nothing is asked.
    """
    if not paths or "ray" not in sys.modules:
        return
    import ray

    if not ray.is_initialized():
        return
    here = ray.get_runtime_context().get_node_id()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not nodes:
        return
    for path in paths:
        path = path.expanduser().absolute()
        if path.is_file():
            if not _all_see(path, path.stat().st_size, nodes):
                raise unseen(path)
            continue
        folder = next(folder for folder in (path, *path.parents) if folder.is_dir())
        try:
            with tempfile.NamedTemporaryFile(prefix=".seen-", dir=folder) as probe:
                seen = _all_see(Path(probe.name), 0, nodes)
        except OSError:
            continue  # it cannot be written at all, which the job will say
        if not seen:
            raise unseen(path)


def _all_see(path: Path, size: int, nodes: list[str]) -> bool:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, max_retries=0)
    def sees(path: str, size: int) -> bool:
        import os

        return os.path.exists(path) and os.path.getsize(path) == size

    asked = [
        sees.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(path), size
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
    return all(ray.get(ready))
