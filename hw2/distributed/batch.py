"""Independent pieces of work on a pool of Ray Data actors."""

import logging
import os
import pickle
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hw2.allocator import OTHER, keep_freed_memory, room_on_gpu
from hw2.config import ScalingConfig
from hw2.distributed.devices import given_gpu, own_device, with_threads
from hw2.distributed.room import (
    cluster_cpus_and_gpus,
    share_of_cluster,
    tell_if_busy,
    where_cpus_are,
)
from hw2.distributed.session import connected
from hw2.errors import ConfigError, Hw2Error
from hw2.pieces import MakeWork, Piece, Work

MAX_DEATHS = 8  # of actors at the same piece; Ray Data would go on without end
MAX_RESTARTS = 20  # of an actor, also of one that dies while it loads its model; likewise
LESS = "give each piece of work less to do at once (--help: per_chunk, batch_size)"
PIECE = "piece"  # the only column
# An actor prepares a piece while it works on another.
AHEAD: dict[str, Any] = {
    "max_concurrent_calls_per_actor": 2,
    "max_tasks_in_flight_per_actor": 2,
    "enable_true_multi_threading": True,
}
Batch = dict[str, Any]


def map_pieces(
    make: MakeWork,
    pieces: Sequence[Piece],
    scaling: ScalingConfig,
    prepare: Work | None = None,
) -> Iterator[Piece]:
    """Results of `make(on_gpu)(piece)` for each piece, in order, as they become ready.

    `make` runs once an actor and loads what the work needs. An actor computes with one CPU thread,
    or `scaling.cpus_per_worker`, so that results do not depend on how many actors there are.
    `prepare`, if given, is what happens to a piece before: in a thread of the actor, while it works
    on the piece before that; for actors of more than one CPU, or with a GPU, in other processes, as
    many as there are CPUs, or are asked for. `scaling.num_workers` 0 works in this process, without
    Ray.

    Raises an Hw2Error of the work itself; ConfigError if a piece killed its actor MAX_DEATHS times
    and once more, or anything an actor MAX_RESTARTS times and once more; Ray's error for the rest.
    """
    if not pieces:
        return
    make = with_threads(make, scaling)
    if scaling.num_workers == 0:
        yield from _in_this_process(make, pieces, scaling, prepare)
        return
    with connected(scaling):
        yield from _on_actors(make, pieces, scaling, prepare)


def _in_this_process(
    make: MakeWork, pieces: Sequence[Piece], scaling: ScalingConfig, prepare: Work | None
) -> Iterator[Piece]:
    keep_freed_memory()
    with room_on_gpu(OTHER):
        work = make(own_device(scaling).type == "cuda")
    for piece in pieces:
        with room_on_gpu(LESS):
            result = work(prepare(piece) if prepare else piece)
        yield result


def _on_actors(
    make: MakeWork, pieces: Sequence[Piece], scaling: ScalingConfig, prepare: Work | None
) -> Iterator[Piece]:
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    _set_up_ray_data()
    num_actors, use_gpu = share_of_cluster(scaling, len(pieces))
    num_actors, cpus = min(num_actors, len(pieces)), scaling.cpus_per_worker or 1
    tell_if_busy(cpus, int(use_gpu))
    rows = [{PIECE: pickle.dumps(piece)} for piece in pieces]
    data = ray.data.from_items(rows, override_num_blocks=len(pieces))
    own = None if _is_fast(use_gpu, cpus) else prepare  # what an actor does itself
    if prepare is not None and own is None:
        at_once = _prepared_at_once(len(pieces), num_actors * cpus, cluster_cpus_and_gpus()[0])
        data = data.map_batches(
            lambda batch: _on_batch(prepare, batch),
            batch_size=1,
            compute=ray.data.TaskPoolStrategy(size=at_once),
            # Actors may hold all CPUs, those of two jobs too: each would wait for the other's end.
            num_cpus=0,
            label_selector=where_cpus_are(),
        )
    with warnings.catch_warnings():
        # The last two have no place of their own before Ray 2.64, which we stay below.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        results = data.map_batches(
            _actor(make, own),
            fn_constructor_kwargs={"on_gpu": use_gpu},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=num_actors, **(AHEAD if own else {})),
            num_cpus=cpus,
            num_gpus=int(use_gpu),
            max_task_retries=MAX_DEATHS,
            max_restarts=MAX_RESTARTS,
        )
    try:
        for row in results.iter_rows():
            result = pickle.loads(row[PIECE])
            if isinstance(result, Hw2Error):
                raise result
            yield result
    except ray.exceptions.RayActorError as error:
        if error.actor_init_failed:
            raise  # by an exception of `make`, which it tells
        raise ConfigError(
            f"a worker died {MAX_DEATHS + 1} times at the same piece of work, or "
            f"{MAX_RESTARTS + 1} times in all (out of memory?): give each less to do at once, "
            "or take fewer with --scaling.num_workers"
        ) from error


def _is_fast(use_gpu: bool, cpus: float) -> bool:
    """Whether an actor may work faster than one thread prepares, so that others have to."""
    return use_gpu or cpus > 1


def _prepared_at_once(num_pieces: int, asked: float, cpus: int) -> int:
    """As many pieces as there are CPUs, or as actors have asked for where the cluster grows.

    Of more than there are pieces Ray Data would warn.
    """
    return min(num_pieces, max(1, cpus, int(asked)))


def _set_up_ray_data() -> None:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    for name in ("exceptions", "_internal.execution.streaming_executor_state"):
        logging.getLogger(f"ray.data.{name}").setLevel(logging.CRITICAL)  # they tell what is raised
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    if "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S" not in os.environ:
        # By default a job ends after half an hour in which no piece was done: a slow piece, or
        # the wait for nodes, may take longer.
        context.execution_no_progress_timeout_s = -1


def _actor(make: MakeWork, prepare: Work | None = None) -> type:
    """The class of the actors. Made here, it travels to them with what `make` and `prepare` hold.

    One piece at a time is prepared in an actor, and one is worked on: always in the same thread, as
    the memory that is kept is a thread's own.
    """

    class Actor:
        def __init__(self, on_gpu: bool) -> None:
            keep_freed_memory()
            self.preparing, self.worker = threading.Lock(), ThreadPoolExecutor(1)
            self.error: Hw2Error | None = None
            try:
                with given_gpu(on_gpu):
                    self.work = make(on_gpu)
            except Hw2Error as error:
                self.error = error

        def __call__(self, batch: Batch) -> Batch:
            def work(piece: Piece) -> Piece:
                if self.error is not None:
                    raise self.error
                if prepare is None:
                    return self.work(piece)
                with self.preparing:
                    piece = prepare(piece)
                return self.worker.submit(self.work, piece).result()

            return _on_batch(work, batch)

    return Actor


def _on_batch(work: Work, batch: Batch) -> Batch:
    """`work` on a batch of one piece.

    Pieces travel as bytes: of Python objects Ray Data would guess a type. An Hw2Error is handed
    over: raised here, Ray Data would wrap and print it.
    """
    piece = pickle.loads(batch[PIECE][0])
    result: Piece | Hw2Error = piece
    if not isinstance(piece, Hw2Error):
        try:
            with room_on_gpu(LESS):
                result = work(piece)
        except Hw2Error as error:
            result = error
    return {PIECE: [pickle.dumps(result, protocol=5)]}
