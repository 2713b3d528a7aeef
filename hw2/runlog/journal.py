"""The journal of a run: an append-only file that outlives kills, delivered once and in order.

Each line is one JSON object; several processes may append. What is there already is skipped, so a
resumed run that computes steps again leaves each of them once. Rows and files are delivered apart,
because files take long and fail more often.
"""

import fcntl
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, SupportsFloat

from hw2.data.files import read_json, sha256_of, write_json
from hw2.runlog.entries import FILES, ROWS, Entry, parse, read_entries
from hw2.runlog.line_file import LineFile

logger = logging.getLogger("hw2.tracking")
JOURNAL = "journal.jsonl"  # in OUT
BATCH_VALUES = 500  # values in one delivery: small, so that the sender never holds the GIL for long
POLL_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0


Send = Callable[[list[Entry]], None]
Describe = Callable[[Exception], str]


class Journal:
    """JSONL file at `path`, made if missing, safe for several threads and processes.

    To append never fails: see LineFile for what happens when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LineFile(path)
        self._latest: dict[str, dict[str, Any]] = {}  # kind -> key -> newest value (metrics: step)

    def append_row(
        self, step: int, metrics: Mapping[str, SupportsFloat], late: bool = False
    ) -> bool:
        """Add the metrics of `step`; NaN and infinities survive.

        A metric whose `step` is not beyond its last one is skipped; with `late` one that has this
        very step. Returns whether any was new.
        """
        with self._locked():
            last = self._latest.get("metrics", {})
            if late:
                last = {key: step for row in self.rows() if row.step == step for key in row.values}
            new = {k: float(v) for k, v in metrics.items() if last.get(k, -1) < step}
            return self._write("metrics", new, step)

    def append(self, kind: str, values: Mapping[str, Any]) -> bool:
        """Add values of `kind` (summary, tag, status) that differ from the newest of their key.

        They belong to the last step of the journal. Returns whether anything was new.
        """
        with self._locked():
            old = self._latest.get(kind, {})
            # compared as JSON, because NaN differs from itself
            new = {k: v for k, v in values.items() if json.dumps(old.get(k)) != json.dumps(v)}
            return self._write(kind, new, max(self._latest.get("metrics", {}).values(), default=0))

    def append_params(self, params: Mapping[str, str]) -> dict[str, str]:
        """Add params. A param never changes: those that differ from before are returned instead."""
        with self._locked():
            old = dict(self._latest.get("param", {}))
            self._write("param", {k: v for k, v in params.items() if k not in old})
            return {k: v for k, v in params.items() if old.get(k, v) != v}

    def append_artifact(self, path: Path, folder: str | None = None) -> bool:
        """Add the file `path`, for `folder` of the run, unless its content is there already.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it lies outside of the journal's folder.
        """
        sha256 = sha256_of(path)
        path, home = path.resolve(), self.path.parent.resolve()
        kept = path.relative_to(home)  # OUT may be moved
        name = f"{folder}/{path.name}" if folder else path.name
        return self.append("artifact", {name: {"path": str(kept), "sha256": sha256}})

    def latest(self, kind: str) -> dict[str, Any]:
        """The newest value of each key of `kind`; for metrics, the last step of each."""
        with self._locked():
            return dict(self._latest.get(kind, {}))

    def rows(self) -> list[Entry]:
        """All metrics that have steps, in the order in which they were written."""
        return [entry for entry, _ in read_entries(self.path, 0, ("metrics",)) if entry]

    def read(
        self, offset: int, kinds: Collection[str] = ROWS + FILES, limit: float = math.inf
    ) -> tuple[list[Entry], int]:
        """About `BATCH_VALUES` values of `kinds` from byte `offset` on; and where they end.

        What lies beyond byte `limit` is left out.
        """
        entries: list[Entry] = []
        count = 0
        for entry, end in read_entries(self.path, offset, kinds):
            if end > limit:
                break
            offset = end
            if entry:
                entries.append(entry)
                count += len(entry.values)
            if count >= BATCH_VALUES:
                break
        return entries, offset

    def settle(self) -> bool:
        """Write what a full disk has refused; return whether all is in the file now."""
        with self._locked():
            return self._file.retry()

    def sync(self) -> None:
        """Make all lines outlive a power cut; against a kill of the process nothing is needed."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; nothing is added after."""
        self._file.close()

    def _write(self, kind: str, values: dict[str, Any], step: int = 0) -> bool:
        if not values:
            return False
        entry = Entry(kind, time.time_ns() // 1_000_000, values, step)
        self._learn(entry)  # even if the disk refuses it
        self._file.append(entry.line())
        return True

    def _learn(self, entry: Entry) -> None:
        known = self._latest.setdefault(entry.kind, {})
        if entry.kind == "metrics":  # one that had to wait is learned again, behind later ones
            known.update({key: max(known.get(key, -1), entry.step) for key in entry.values})
        else:
            known.update(entry.values)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads and processes, and knowing every line."""
        with self._file.locked():
            for line in self._file.news():
                if entry := parse(line, self.path):
                    self._learn(entry)
            yield


def mark_of(journal: Path, what: Literal["rows", "files"]) -> Path:
    """Where a courier keeps to which byte of the journal it has brought `what`."""
    return journal.with_suffix(".delivered" if what == "rows" else f".{what}.delivered")


def delivered(journal: Path, key: str, what: Literal["rows", "files"]) -> int:
    """To which byte of the journal `what` has been brought to the receiver `key`; 0: nothing."""
    try:
        mark = read_json(mark_of(journal, what))
        # a journal that is shorter than the mark is another journal
        known = mark["key"] == key and 0 <= mark["offset"] <= journal.stat().st_size
        return int(mark["offset"]) if known else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # none yet, or torn by a power cut: what is sent again is stored once


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
        describe: One line about an error of `send`, fit to be read by anybody.
        what: Files alone, with `journal.files.lock` and so on, or all else.
        limit: How many bytes of the journal may be delivered by now.
    """

    def __init__(
        self,
        journal: Journal,
        key: str,
        send: Send,
        describe: Describe,
        what: Literal["rows", "files"] = "rows",
        limit: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._journal, self._key, self._send, self._describe = journal, key, send, describe
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
                        away = f"tracking is away ({self._describe(error)})"
                        rows = self._journal.path
                        kept = rows if self._what == "rows" else rows.parent
                        logger.warning(
                            "%s: %s are kept in %s until it is back", away, self._what, kept
                        )
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
            logger.warning("tracking is back: the %s that were kept are on their way", self._what)
            self._down, self._failures = False, 0
        return True
