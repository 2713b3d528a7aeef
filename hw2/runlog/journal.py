"""The journal of a run: an append-only file that outlives kills.

Each line is one JSON object; several processes may append. What is there already is skipped, so a
resumed run that computes steps again leaves each of them once.
"""

import json
import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsFloat

from hw2.data.files import sha256_of
from hw2.runlog.entries import FILES, ROWS, Entry, parse, read_entries
from hw2.runlog.line_file import LineFile

JOURNAL = "journal.jsonl"  # in OUT
LAST_MS = 2**63 - 1  # that a journal may have
BATCH_VALUES = 500  # values in one delivery: small, so that the sender never holds the GIL for long


class Journal:
    """JSONL file at `path`, made if missing, safe for several threads and processes.

    To append never fails: see LineFile for what happens when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LineFile(path)
        self._newest_ms = 0
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
        time_ms = time.time_ns() // 1_000_000
        if kind != "metrics":  # of a step MLflow takes the latest, by a clock that may go back
            time_ms = max(time_ms, min(self._newest_ms + 1, LAST_MS))
        entry = Entry(kind, time_ms, values, step)
        self._learn(entry)  # even if the disk refuses it
        self._file.append(entry.line())
        return True

    def _learn(self, entry: Entry) -> None:
        self._newest_ms = max(self._newest_ms, entry.time_ms)
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
