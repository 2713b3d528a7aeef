"""One job at a time in a folder of results, and one writer at a time of its training."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2.errors import BusyError, ConfigError

LOCK, JOB_LOCK = ".lock", ".job.lock"  # of a training's worker 0; of a job, for its whole time
LOCK_SECONDS = 60.0
# A node that vanished holds its locks until the file server gives them up.
NODE_SECONDS = 180.0


@contextmanager
def only_writer(out: Path, patience: float = LOCK_SECONDS, name: str = LOCK) -> Iterator[None]:
    """Hold OUT alone: a worker whose driver was killed may live on for seconds beside a new one.

    Raises BusyError if another process still writes there after `patience` seconds, and ConfigError
    if the file system keeps no locks.
    """
    with (out / name).open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(out / name)):
                    raise BlockingIOError  # who held it has moved the folder aside
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"out={out}: another run is writing there; wait for it or choose another"
                    ) from None
                time.sleep(0.2)
            except OSError as error:
                raise ConfigError(
                    f"out={out}: cannot be locked ({error.strerror}): choose a folder whose "
                    "file system keeps locks (of NFS, version 4)"
                ) from error
        yield
