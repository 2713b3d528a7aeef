"""Independent pieces of work on a pool of Ray Data actors."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hw2.config import ScalingConfig
from hw2.distributed.session import cluster_cpus_and_gpus, connected
from hw2.errors import ConfigError

Piece = dict[str, Any]
# Ray Data needs a share of a CPU for itself: actors that hold all of them wait for ever.
CPUS_PER_ACTOR = 0.75


def _pool(scaling: ScalingConfig, num_pieces: int) -> tuple[int, int]:
    """Actors and GPUs for each: as told, else one a GPU or CPU of the cluster."""
    cpus, gpus = cluster_cpus_and_gpus()
    use_gpu = gpus > 0 if scaling.use_gpu is None else scaling.use_gpu
    have = gpus if use_gpu else cpus
    if use_gpu and not gpus:
        raise ConfigError("scaling.use_gpu=true, but the cluster has no GPU: leave it out")
    wanted = scaling.num_workers or have
    if wanted > have:
        kind = "GPUs" if use_gpu else "CPUs"
        raise ConfigError(f"scaling.num_workers={wanted}, but the cluster has {have} {kind}")
    return max(1, min(wanted, num_pieces)), int(use_gpu)


def map_pieces(
    make: Callable[[bool], Callable[[Piece], Piece]],
    pieces: Sequence[Piece],
    scaling: ScalingConfig,
) -> Iterator[Piece]:
    """Results of `make(on_gpu)(piece)` for each piece, in order, as they become ready.

    `make` runs once an actor and loads what the work needs; the results' values are NumPy arrays
    or numbers. An actor computes with one CPU thread, so that results do not depend on how many
    there are. `scaling.num_workers` 0 works in this process, without Ray.
    """
    if not pieces:
        return
    if scaling.num_workers == 0:
        work = make(bool(scaling.use_gpu))
        yield from (work(piece) for piece in pieces)
        return

    class Actor:
        def __init__(self, on_gpu: bool) -> None:
            import torch

            torch.set_num_threads(1)
            self.work = make(on_gpu)

        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
            index = int(batch["piece"][0])
            return {key: [value] for key, value in self.work(pieces[index]).items()}

    with connected():
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.WARNING)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        num_actors, num_gpus = _pool(scaling, len(pieces))
        numbers = [{"piece": index} for index in range(len(pieces))]
        results = ray.data.from_items(numbers, override_num_blocks=len(pieces)).map_batches(
            Actor,
            fn_constructor_kwargs={"on_gpu": bool(num_gpus)},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=num_actors),
            num_cpus=scaling.cpus_per_worker or CPUS_PER_ACTOR,
            num_gpus=num_gpus,
        )
        yield from results.iter_rows()
