"""From the journal to a run of the store: to send twice is harmless, what is refused is left out.

MLflow's SQL stores keep a row that is sent twice once: (run, key, step, time, value) is the key.
"""

import logging
import os
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hw2.data.files import inside
from hw2.disclosure import describe
from hw2.runlog.entries import Entry
from hw2.tracking import connect, log_values

logger = logging.getLogger("hw2.tracking")


class Delivery:
    """Sends entries to the run `run_id` of the store at `uri`.

    `rows` and `files` are for one thread each. They raise if the store is away: then the same
    entries have to come again.
    """

    def __init__(self, uri: str, run_id: str, out: Path) -> None:
        self._uri, self._run_id, self._out = uri, run_id, out
        self._sent: dict[str, str] = {}  # name of a file -> hash of its newest content in the store

    @cached_property
    def _client(self) -> Any:
        return connect(self._uri)  # in the courier's thread: the import takes seconds

    def rows(self, entries: list[Entry]) -> None:
        """Send metrics, params, tags and status."""
        refusal = self._refusal(lambda: self._send_rows(entries))
        if refusal and len(entries) == 1:
            what = f"{entries[0].kind} {', '.join(entries[0].values)}"[:200]
            logger.warning("MLflow refuses %s (%s): left out", what, describe(refusal))
        elif refusal:
            for entry in entries:
                self.rows([entry])

    def files(self, entries: list[Entry]) -> None:
        """Send each file of the entries; one that fails holds up no other; then this raises."""
        failure: Exception | None = None
        newest = {name: file for entry in entries for name, file in entry.values.items()}
        for name, file in newest.items():
            if self._sent.get(name) == file["sha256"]:
                continue
            send = partial(self._send_file, name, self._out / file["path"])
            try:
                refusal = self._refusal(send)
            except Exception as error:
                failure = error
                continue
            if refusal:
                logger.warning("MLflow refuses artifact %s (%s): left out", name, describe(refusal))
            self._sent[name] = file["sha256"]
        if failure:
            raise failure

    def _refusal(self, send: Callable[[], None]) -> Exception | None:
        """Why the store refuses what `send` sends, though the run can be written; None: it has it.

        Sent twice before that is believed: a run that was deleted may be restored in between.
        Raises whatever else goes wrong.
        """
        refusal: Exception | None = None
        for _ in range(2):
            try:
                send()
            except Exception as error:
                if not self._refused(error):
                    raise
                refusal = error
            else:
                return None
        return refusal

    def _refused(self, error: Exception) -> bool:
        """Whether the run can be written, but not with this."""
        if getattr(error, "error_code", "") != "INVALID_PARAMETER_VALUE":
            return False
        return bool(self._client.get_run(self._run_id).info.lifecycle_stage == "active")

    def _send_rows(self, entries: list[Entry]) -> None:
        pairs = [(entry, key, value) for entry in entries for key, value in entry.values.items()]
        log_values(
            self._client,
            self._run_id,
            metrics=[
                (key, value, entry.time_ms, entry.step)
                for entry, key, value in pairs
                if entry.kind in ("metrics", "summary")
            ],
            params={key: value for entry, key, value in pairs if entry.kind == "param"},
            tags={key: value for entry, key, value in pairs if entry.kind == "tag"},
        )
        for entry, _, value in pairs:
            if entry.kind == "status" and value == "RUNNING":
                self._client.update_run(self._run_id, status=value)
            elif entry.kind == "status":
                self._client.set_terminated(self._run_id, value, entry.time_ms)

    def _send_file(self, name: str, path: Path) -> None:
        if not inside(path, self._out):  # a journal that someone else began could name any file
            logger.warning("%s lies outside of %s: left out", path, self._out)
        elif path.is_file():
            self._client.log_artifact(self._run_id, str(path), os.path.dirname(name) or None)
        else:
            logger.warning("%s is gone before it reached MLflow: left out", path)
