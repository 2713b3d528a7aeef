"""The journal of a run: an append-only file that outlives kills, delivered once and in order.

Each line is one JSON object, written with one `write` under a file lock: several processes may
append, and a kill leaves at worst one torn last line, which the next writer cuts off. What is there
already is skipped, so a resumed run that computes steps again leaves each of them once.
"""

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

logger = logging.getLogger("hw2.tracking")
BATCH_VALUES = 500  # values in one delivery: small, so that the sender never holds the GIL for long
POLL_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0


@dataclass(frozen=True)
class Entry:
    """One line: `kind` is metrics, summary, param, tag, artifact or status."""

    kind: str
    time_ms: int
    values: dict[str, Any]
    step: int = 0


Send = Callable[[list[Entry]], None]
Describe = Callable[[Exception], str]


def write_json(path: Path, content: Any) -> None:
    """Write `content` so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


class Journal:
    """Append-only JSONL file at `path`, made if missing, safe for several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._thread_lock = threading.Lock()
        self._known = 0  # bytes already in `_latest`
        self._latest: dict[str, dict[str, Any]] = {}  # kind -> key -> newest value (metrics: step)

    def append_row(self, step: int, metrics: Mapping[str, SupportsFloat]) -> bool:
        """Add the metrics of `step`; NaN and infinities survive.

        A metric whose `step` is not beyond its last one is skipped. Returns whether any was new.
        """
        with self._locked():
            last = self._latest.get("metrics", {})
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
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path, home = path.resolve(), self.path.parent.resolve()
        kept = path.relative_to(home) if path.is_relative_to(home) else path  # OUT may be moved
        name = f"{folder}/{path.name}" if folder else path.name
        return self.append("artifact", {name: {"path": str(kept), "sha256": sha256}})

    def latest(self, kind: str) -> dict[str, Any]:
        """The newest value of each key of `kind`; for metrics, the last step of each."""
        with self._locked():
            return dict(self._latest.get(kind, {}))

    def rows(self) -> list[Entry]:
        """All metrics that have steps, in the order in which they were written."""
        return [entry for entry, _ in _lines(self.path, 0) if entry and entry.kind == "metrics"]

    def read(self, offset: int) -> tuple[list[Entry], int]:
        """Whole lines from byte `offset` on, about `BATCH_VALUES` values; and where they end."""
        entries: list[Entry] = []
        count = 0
        for entry, end in _lines(self.path, offset):
            offset = end
            if entry:
                entries.append(entry)
                count += len(entry.values)
            if count >= BATCH_VALUES:
                break
        return entries, offset

    def sync(self) -> None:
        """Make all lines outlive a power cut; against a kill of the process nothing is needed."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is added after."""
        self._file.close()

    def _write(self, kind: str, values: dict[str, Any], step: int = 0) -> bool:
        if not values:
            return False
        entry = Entry(kind, time.time_ns() // 1_000_000, values, step)
        self._file.write(json.dumps(entry.__dict__).encode() + b"\n")
        self._learn()
        return True

    def _learn(self) -> None:
        for entry, end in _lines(self.path, self._known):
            self._known = end
            if entry:
                is_row = entry.kind == "metrics"
                new = dict.fromkeys(entry.values, entry.step) if is_row else entry.values
                self._latest.setdefault(entry.kind, {}).update(new)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads and processes, knowing every line, with no torn line at the end."""
        with self._thread_lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if os.fstat(self._file.fileno()).st_size != self._known:
                    self._learn()
                    self._file.truncate(self._known)
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


def _lines(path: Path, offset: int) -> Iterator[tuple[Entry | None, int]]:
    """Each whole line from `offset` and the offset behind it; None for a line that is no entry."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield Entry(**json.loads(line)), offset
            except (ValueError, TypeError):
                logger.warning("%s: the line that ends at byte %d is unreadable", path, offset)
                yield None, offset


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
    """

    def __init__(self, journal: Journal, key: str, send: Send, describe: Describe) -> None:
        self._journal, self._key, self._send, self._describe = journal, key, send, describe
        self._mark = journal.path.with_suffix(".delivered")
        self._stop, self._wake, self._failures, self._down = False, threading.Event(), 0, False
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
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
        try:
            mark = json.loads(self._mark.read_text())
        except FileNotFoundError:
            return 0
        # a journal that is shorter than the mark is another journal
        known = mark["key"] == self._key and mark["offset"] <= self._journal.path.stat().st_size
        return int(mark["offset"]) if known else 0

    def _run(self) -> None:
        with self._journal.path.with_suffix(".lock").open("a") as lock:
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
                        kept = f"rows are kept in {self._journal.path} until it is back"
                        logger.warning("tracking is away (%s): %s", self._describe(error), kept)
                        self._down = True
                self._wake.wait(pause)

    def _deliver(self) -> bool:
        entries, end = self._journal.read(offset := self._delivered())
        if end == offset:
            return False
        self._journal.sync()  # else a power cut could take back rows that the receiver keeps
        self._send(entries)
        write_json(self._mark, {"key": self._key, "offset": end})
        if self._down:
            logger.warning("tracking is back: the rows that were kept are on their way")
            self._down, self._failures = False, 0
        return True
