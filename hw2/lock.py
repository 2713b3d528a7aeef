"""One job at a time in a folder of results, and one writer at a time of its training."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hw2.disclosure import warn
from hw2.errors import BusyError, ConfigError

# Of what writes there: a training's worker 0, a sweep's actors. Of a job, for its whole time.
LOCK, JOB_LOCK = ".lock", ".job.lock"
LOCK_SECONDS = 60.0
# A node that vanished holds its locks until the file server gives them up.
NODE_SECONDS = 180.0
TELL_SECONDS = 5.0


@contextmanager
def only_writer(out: Path, patience: float = LOCK_SECONDS, name: str = LOCK) -> Iterator[None]:
    """Hold OUT alone: a worker whose driver was killed may live on for seconds beside a new one.

    Raises BusyError if another process still writes there after `patience` seconds, which a line
    tells after the first five, and ConfigError if the file system keeps no locks.
    """
    began, told = time.monotonic(), False
    while (file := _locked(out / name, fcntl.LOCK_EX)) is None:
        waited = time.monotonic() - began
        if waited > patience:
            raise BusyError(
                f"out={out}: another run is writing there; wait for it or choose another"
            )
        if waited > TELL_SECONDS and not told:
            told = True
            warn(f"another run is writing in {out}: waiting for its end, {patience:.0f} s at most")
        time.sleep(0.2)
    with file:
        yield


@contextmanager
def one_of_writers(out: Path) -> Iterator[None]:
    """Hold OUT beside others that do, so that `only_writer` waits for all.

    Raises BusyError if one holds it alone, and ConfigError likewise.
    """
    if (file := _locked(out / LOCK, fcntl.LOCK_SH)) is None:
        raise BusyError(f"out={out}: another run is writing there")
    with file:
        yield


def refuse_at_work(folder: Path) -> None:
    """Raise BusyError if a job is at work in `folder`: what is read there is not yet all."""
    try:
        # A folder of others may have a pipe by that name, whose opening would wait.
        file = os.open(folder / JOB_LOCK, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(file)
    except BlockingIOError:
        raise BusyError(f"{folder}: a job is still at work there: wait for its end") from None
    except OSError:
        pass  # of no job, or where no lock is kept


def _locked(path: Path, how: int) -> TextIO | None:
    """The file, opened and locked; None if others hold it or it is being moved aside."""
    with contextlib.ExitStack() as opened:
        try:
            # NFS gives a shared lock on what may be read alone, a sole one on what may be written.
            file = opened.enter_context(path.open("a+"))
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                opened.pop_all()
                return file
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            raise ConfigError(
                f"out={path.parent}: cannot be locked ({error.strerror}): choose a folder whose "
                "file system keeps locks (of NFS, version 4)"
            ) from error
        return None
