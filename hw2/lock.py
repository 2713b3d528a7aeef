"""One writer at a time in a training's folder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2.errors import BusyError, ConfigError

LOCK = ".lock"
LOCK_SECONDS = 60.0


@contextmanager
def only_writer(out: Path, patience: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold OUT alone: a worker whose driver was killed may live on for seconds beside a new one.

    Raises BusyError if another process still writes there after `patience` seconds, and ConfigError
    if the file system keeps no locks.
    """
    with (out / LOCK).open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
