"""Independent pieces of work on a pool of Ray Data actors."""

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hw2.config import ScalingConfig
from hw2.distributed.session import cluster_cpus_and_gpus, connected, own_device, share_of_cluster
from hw2.errors import Hw2Error

Piece = dict[str, Any]
# Ray Data needs a share of the CPUs for itself: actors that hold all of them wait for ever.
ACTORS_SHARE = 0.75
ERROR = "error"  # of a result that is none


def map_pieces(
    make: Callable[[bool], Callable[[Piece], Piece]],
    pieces: Sequence[Piece],
    scaling: ScalingConfig,
) -> Iterator[Piece]:
    """Results of `make(on_gpu)(piece)` for each piece, in order, as they become ready.

    `make` runs once an actor and loads what the work needs; the results' values are NumPy arrays
    or numbers. An actor computes with one CPU thread, so that results do not depend on how many
    there are. `scaling.num_workers` 0 works in this process, without Ray.

    Raises an Hw2Error of the work itself, and Ray's error for anything else.
    """
    if not pieces:
        return
    if scaling.num_workers == 0:
        work = make(own_device(scaling).type == "cuda")
        yield from (work(piece) for piece in pieces)
        return

    class Actor:
        def __init__(self, on_gpu: bool) -> None:
            import torch

            torch.set_num_threads(1)
            # An Hw2Error is handed over: raised here, Ray Data would wrap and print it.
            self.error: Hw2Error | None = None
            try:
                self.work = make(on_gpu)
            except Hw2Error as error:
                self.error = error

        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
            try:
                if self.error is not None:
                    raise self.error
                result = self.work(pieces[int(batch["piece"][0])])
            except Hw2Error as error:
                result = {ERROR: pickle.dumps(error)}
            return {key: [value] for key, value in result.items()}

    with connected(scaling):
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        num_actors, use_gpu = share_of_cluster(scaling, len(pieces))
        num_actors = min(num_actors, len(pieces))
        even_share = ACTORS_SHARE * cluster_cpus_and_gpus()[0] / num_actors
        numbers = [{"piece": index} for index in range(len(pieces))]
        results = ray.data.from_items(numbers, override_num_blocks=len(pieces)).map_batches(
            Actor,
            fn_constructor_kwargs={"on_gpu": use_gpu},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=num_actors),
            num_cpus=min(scaling.cpus_per_worker or 1, even_share),
            num_gpus=int(use_gpu),
        )
        for result in results.iter_rows():
            if result.get(ERROR) is not None:
                raise pickle.loads(result[ERROR])
            yield result
