"""How often the workers of a training may fail, and what is said when they do."""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MAX_FAILURES = 8
LOST = re.compile("by peer|Broken pipe|remote process exited")  # as gloo and NCCL tell it
TRACEBACKS = "ray.train.v2._internal.util"  # whence they come in a worker
CONTROLLER = "ray.train.v2._internal.execution"


class LostAnotherWorker(RuntimeError):
    """A worker cannot go on since another one, of whom Ray tells, is gone."""


@contextmanager
def seeing_lost() -> Iterator[None]:
    """An error of a collective in the block says so where another worker is gone.

    Ray's traceback of it is left out: this process ends, and the job says `worker 1 failed: ..`.
    """
    try:
        yield
    except RuntimeError as error:
        if LOST.search(str(error)):
            logging.getLogger(TRACEBACKS).addFilter(lambda record: False)
            raise LostAnotherWorker(str(error)) from None
        raise


def say_less() -> None:
    """In the process of Ray Train's controller: leave out what is told by a line of ours.

    On a cluster it shows each failure of a worker, and each decision to begin again, at length.
    """
    logging.getLogger(f"{CONTROLLER}.failure_handling.default").addFilter(lambda record: False)
    logging.getLogger(f"{CONTROLLER}.controller.controller").addFilter(_shortened)


def _shortened(record: logging.LogRecord) -> bool:
    """A line in place of a traceback where an elastic group began with a node that is gone.

    Ray counts a node for some seconds after it was lost.
    """
    if "worker group startup timed out" in record.getMessage():
        record.msg = "not all workers could begin, as where a node was lost: they begin again"
        record.args = record.exc_info = None
    return True


class Failures:
    """Counts a training's failures as Ray does, which tells of each before it decides."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, errors: Mapping[int, Exception]) -> None:
        """Say on stderr which ranks failed (why, the worker says), and what follows."""
        for rank, error in sorted(errors.items()):
            print(f"worker {rank} failed: {type(error).__name__}", file=sys.stderr)
        self.count += not any(_reclaimed(error) for error in errors.values())
        if self.count > MAX_FAILURES:
            follows = f"the workers failed more than {MAX_FAILURES} times: given up"
        else:
            again = f"from the newest checkpoint, at most {MAX_FAILURES} times in all"
            follows = f"the workers start again {again}"
        print(follows, file=sys.stderr)


def _reclaimed(error: Exception) -> bool:
    """Whether the worker's node was taken away with notice: without limit, as Ray has it."""
    died = getattr(error, "health_check_failure", error)
    return bool(getattr(died, "preempted", False))
