"""An append-only file of lines that outlives kills, torn writes and a full disk."""

import errno
import fcntl
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("hw2.tracking")
MAX_WAITING = 10_000  # lines kept in memory while the disk is full; then the oldest are lost


class LineFile:
    """Lines at `path`, made if missing, which several threads and processes append to and read.

    A kill or a full disk leaves at worst one torn last line, which the next writer cuts off. A line
    that the disk refuses waits in memory and is tried again before the next: logging never raises.
    `append` and `retry` belong into a `with locked()` block, once, behind `news`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._thread_lock = threading.Lock()
        self._known = 0  # bytes that `news` has given
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._refused = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among threads and processes."""
        with self._thread_lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def news(self) -> Iterator[bytes]:
        """Whole lines, by whomever, since the last call; then cuts off what is torn."""
        size = os.fstat(self._file.fileno()).st_size
        if size == self._known:
            return
        for line, end in read_lines(self.path, self._known):
            self._known = end
            yield line
        if size > self._known:  # else a disk that takes nothing any more would refuse even this
            self._file.truncate(self._known)

    def append(self, line: bytes) -> None:
        """Add `line`, which ends with a newline, or keep it until the disk takes it."""
        self._waiting.append(line)
        self.retry()

    def retry(self) -> bool:
        """Write what the disk has refused; return whether nothing waits any more."""
        while self._waiting:
            line = self._waiting[0]
            try:
                if self._file.write(line) < len(line):  # a disk that is nearly full takes a part
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                if not self._refused:
                    kept = f"the newest {MAX_WAITING} lines wait in memory"
                    logger.warning("cannot write %s (%s): %s", self.path, error.strerror, kept)
                self._refused = True
                return False
            self._waiting.popleft()
        self._refused = False
        return True

    def sync(self) -> None:
        """Make all lines outlive a power cut; against a kill of the process nothing is needed."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is added after."""
        if self._waiting:
            logger.warning("cannot write %s: %d lines are lost", self.path, len(self._waiting))
        self._file.close()


def read_lines(path: Path, offset: int) -> Iterator[tuple[bytes, int]]:
    """Each whole line of the file from byte `offset` on, and the offset behind it."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line, offset
