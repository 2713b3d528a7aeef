"""Carries a journal's lines to a receiver, once and in order.

Rows and files are delivered apart, because files take long and fail more often.
"""

import fcntl
import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from hw2.data.files import read_json, write_json
from hw2.disclosure import describe, mask
from hw2.errors import wants_room
from hw2.runlog.addresses import resolve_uri
from hw2.runlog.entries import FILES, ROWS, Entry
from hw2.runlog.journal import JOURNAL, Journal
from hw2.runlog.run_file import RUN_FILE

logger = logging.getLogger("hw2.tracking")
POLL_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0

What = Literal["rows", "files"]
Send = Callable[[list[Entry]], None]


def mark_of(journal: Path, what: What) -> Path:
    """Where a courier keeps to which byte of the journal it has brought `what`."""
    return journal.with_suffix(".delivered" if what == "rows" else f".{what}.delivered")


def receiver(run_id: str, tracking_uri: str) -> str:
    """The key of a run in a store: a copy of the store has the run too, but not its later rows."""
    return f"{run_id} {mask(tracking_uri)}"


def delivered(journal: Path, key: str, what: What) -> int:
    """To which byte of the journal `what` has been brought to the receiver `key`; 0: nothing."""
    try:
        mark = read_json(mark_of(journal, what))
        # a journal that is shorter than the mark is another journal
        known = mark["key"] == key and 0 <= mark["offset"] <= journal.stat().st_size
        return int(mark["offset"]) if known else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # none yet, or torn by a power cut: what is sent again is stored once


def has_arrived(out: Path) -> bool:
    """Whether the run of the finished job in `out` is whole at the store that is used now.

    Raises OSError, ValueError or KeyError where `out` has no journal or no record of a run.
    """
    record, journal = read_json(out / RUN_FILE), out / JOURNAL
    if record["tracking_uri"] != mask(resolve_uri()):
        return False
    key = receiver(record["run_id"], record["tracking_uri"])
    rows, files = (delivered(journal, key, what) for what in get_args(What))
    return rows == files == journal.stat().st_size


class Courier:
    """A daemon thread that carries a journal's lines to `send`, in order.

    Several processes may each have one: the first that locks `journal.lock` delivers for all, and
    when it is gone the next takes over. How far it got is kept in `journal.delivered`. A kill
    between sending and keeping sends the last batch again, so `send` must be idempotent.

    Args:
        journal: What to deliver.
        key: Names the receiver; for another key delivery begins at the first line.
        send: Returns when the entries have arrived, raises if they have not: then they are sent
            again after 0.5, 1, 2 ... 30 seconds.
        what: Files alone, with `journal.files.lock` and so on, or all else.
        limit: How many bytes of the journal may be delivered by now.
    """

    def __init__(
        self,
        journal: Journal,
        key: str,
        send: Send,
        what: What = "rows",
        limit: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._journal, self._key, self._send = journal, key, send
        self._limit = limit
        self._what, self._mark = what, mark_of(journal.path, what)
        self._lock = self._mark.with_suffix(".lock")
        if not self._delivered():  # a mark beyond the journal would be believed once that has grown
            self._mark.unlink(missing_ok=True)
        self._stop, self._wake, self._failures, self._down = False, threading.Event(), 0, False
        self._thread = threading.Thread(target=self._run, name=f"courier of {what}", daemon=True)
        self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for all that is written now; return whether it arrived."""
        target, deadline = self._journal.path.stat().st_size, time.monotonic() + timeout
        self._failures = 0  # someone waits: pauses are short again
        self._wake.set()
        while self._delivered() < target and time.monotonic() < deadline:
            time.sleep(0.02)
        return self._delivered() >= target

    def stop(self) -> None:
        """Stop after the batch under way, for which this waits a second at most."""
        self._stop = True
        self._wake.set()
        self._thread.join(1.0)

    def _delivered(self) -> int:
        return delivered(self._journal.path, self._key, self._what)

    def _run(self) -> None:
        with self._lock.open("a") as lock:
            while not self._stop:
                pause = POLL_SECONDS
                self._wake.clear()
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # again is harmless
                    while self._deliver() and not self._stop:
                        pass
                except BlockingIOError:
                    pass  # another process delivers
                except Exception as error:  # whatever it is, training goes on
                    pause = min(0.5 * 2**self._failures, MAX_PAUSE_SECONDS)
                    self._failures += 1
                    if not self._down and not self._stop:
                        full = wants_room(error)
                        why = "no room for tracking" if full else "tracking is away"
                        rows = self._journal.path
                        kept = rows if self._what == "rows" else rows.parent
                        said = f"{why} ({describe(error)}): {self._what} are kept in {kept}"
                        logger.warning("%s until %s", said, "there is" if full else "it is back")
                        self._down = True
                self._wake.wait(pause)

    def _deliver(self) -> bool:
        kinds = ROWS if self._what == "rows" else FILES
        entries, end = self._journal.read(offset := self._delivered(), kinds, self._limit())
        if end == offset:
            return False
        if entries:
            self._journal.sync()  # else a power cut could take back rows that the receiver keeps
            self._send(entries)
        write_json(self._mark, {"key": self._key, "offset": end})
        if self._down:
            logger.warning(
                "%s: tracking is back: the %s that were kept are on their way",
                self._journal.path.parent,
                self._what,
            )
            self._down, self._failures = False, 0
        return True
