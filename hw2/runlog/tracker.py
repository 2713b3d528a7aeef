"""One MLflow run for each job, from its start to its end.

A Tracker writes to the journal in OUT; courier threads bring that to MLflow. So training never
waits for a server, rows outlive its absence, and a job that continues in OUT continues its run.
"""

import json
import logging
import math
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hw2.config import leaves
from hw2.data.files import write_json
from hw2.disclosure import describe, mask, warn
from hw2.errors import BusyError, ConfigError, StorageError
from hw2.runlog.addresses import resolve_uri
from hw2.runlog.courier import Courier, receiver
from hw2.runlog.delivery import Delivery
from hw2.runlog.environment import environment_tags
from hw2.runlog.run_file import RUN_FILE, copied_from, read_run
from hw2.runlog.run_log import RunLog
from hw2.tracking import open_run, origin, prepare_store

if TYPE_CHECKING:
    from hw2.bucket.mirror import Mirror

logger = logging.getLogger("hw2.tracking")
TELL_SECONDS = 5.0  # of waiting for MLflow, after which this is told


class Tracker(RunLog):
    """The job's run. Rows and files go to the journal at once and to MLflow in the background.

    Made by `start` (the driver) or `attach` (rank 0, in another process). As a context manager it
    finishes the run, FAILED or KILLED if an exception leaves the block; of a failure the tag
    `error` says what it was, until a later start comes to its end.
    """

    def __init__(
        self,
        out: Path,
        run_id: str,
        tracking_uri: str | None,
        owner: bool,
        mirror: "Mirror | None" = None,
    ) -> None:
        super().__init__(out)
        self.run_id, self.tracking_uri, self._owner = run_id, tracking_uri, owner
        self.mirror = mirror
        self._couriers: list[Courier] = []
        if tracking_uri:
            delivery, key = Delivery(tracking_uri, run_id, out), receiver(run_id, tracking_uri)
            self._couriers = [
                Courier(self.journal, key, delivery.rows, limit=self._kept),
                Courier(self.journal, key, delivery.files, what="files"),
            ]

    @classmethod
    def start(
        cls,
        out: Path,
        *,
        experiment: str,
        run_name: str,
        config: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        tracking_uri: str | None = None,
        timeout: float = 15.0,
        mirror: "Mirror | None" = None,
        seconds: float = 0.0,
    ) -> "Tracker":
        """Begin the run of the job in `out`, or continue the one that `out` began before.

        A copy of a folder begins a run of its own, with all rows until then.

        Args:
            out: The job's folder; holds the journal and `mlflow_run.json`.
            config: Resolved and nested; becomes dotted params of at most 500 characters. MLflow's
                params never change: one that differs in a continued run becomes the tag
                `resumed.NAME`.
            tags: Beside `environment_tags()` and `origin()`.
            parent_run_id: The sweep's run, of which this is a trial.
            tracking_uri: Default MLFLOW_TRACKING_URI, else mlflow.db in the working folder.
            timeout: Seconds in which a server has to answer.
            mirror: What brings `out` to a bucket; rows are delivered once they are there.
            seconds: How long ago the run began, of what is told when it is done.

        Raises:
            ConfigError: the store is of an unknown kind or does not answer.
            StorageError: the bucket is away.
        """
        out.mkdir(parents=True, exist_ok=True)
        uri = resolve_uri(tracking_uri)
        parent = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
        experiment_id = prepare_store(uri, experiment, timeout)
        record, place = read_run(out), {} if mirror else {"out": str(out.absolute())}
        if original := copied_from(record, out):
            if not parent_run_id:
                warn(f"{out} is a copy of {original}: it begins an MLflow run of its own")
            tags = {**(tags or {}), "copy.of": str(record.get("run_id"))}
        if original or not record:  # kept before the run exists: a kill leaves no orphan
            record = {"key": uuid.uuid4().hex, **place}
            write_json(out / RUN_FILE, record)
        if mirror:
            mirror.push()
        began = {**parent, **origin(experiment)}
        name = mask(run_name)
        run_id = open_run(uri, experiment_id, record["key"], name, began, timeout, seconds)
        known = {**record, "run_id": run_id, "tracking_uri": mask(uri), **place}
        write_json(out / RUN_FILE, known)
        tracker = cls(out, run_id, uri, owner=True, mirror=mirror)
        params = {k: _text(v)[:500] for k, v in leaves(config).items()}
        changed = tracker.journal.append_params(params)
        tracker.set_tags(environment_tags() | {f"resumed.{k}": v for k, v in changed.items()})
        tracker.set_tags({**began, **(tags or {})})  # a run may have been begun under another
        tracker.journal.append("status", {"status": "RUNNING"})
        return tracker

    @classmethod
    def attach(cls, out: Path, mirror: "Mirror | None" = None) -> "Tracker":
        """Write to the run that `start` began in `out`; deliver only when the driver is gone.

        To the store that `start` used, or to MLFLOW_TRACKING_URI if that has credentials. With a
        `mirror`, leave all delivery to the driver, which reads what is in the bucket.

        Raises ConfigError if no run was begun in `out`.
        """
        record = read_run(out)
        if "run_id" not in record:
            raise ConfigError(f"{out / RUN_FILE} names no run: call Tracker.start there first")
        if mirror:
            return cls(out, str(record["run_id"]), None, owner=False, mirror=mirror)
        known = str(record["tracking_uri"])
        uri = os.environ.get("MLFLOW_TRACKING_URI") if "***" in known else known
        return cls(out, str(record["run_id"]), uri and resolve_uri(uri), owner=False)

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait up to `timeout` seconds for all that was logged; return whether it is in MLflow."""
        deadline = time.monotonic() + timeout
        written = self.journal.settle() and self._pushed()
        if not (arrived := self._arrived(deadline - max(0.0, timeout - TELL_SECONDS))):
            if (left := deadline - time.monotonic()) > 0:
                logger.warning("%s: waiting for MLflow, up to %.0f s more", self.out, left)
            arrived = self._arrived(deadline)
        return written and bool(self._couriers) and arrived

    def _arrived(self, deadline: float) -> bool:
        return all([courier.flush(deadline - time.monotonic()) for courier in self._couriers])

    def _pushed(self) -> bool:
        try:
            if self.mirror:
                self.mirror.push()
            return True
        except StorageError as error:
            logger.warning("%s", error)
            return False

    def _kept(self) -> float:
        return self.mirror.kept(self.journal.path) if self.mirror else math.inf

    def finish(self, status: str = "FINISHED", timeout: float = 30.0) -> bool:
        """End the run as FINISHED, FAILED or KILLED; return whether all of it is in MLflow."""
        self.journal.append("status", {"status": status})
        if not (done := self.flush(timeout)):
            logger.warning(
                "%s: not all of the run reached %s: it is kept, the same command delivers the rest",
                self.out,
                mask(self.tracking_uri or ""),
            )
        self.close()
        return done

    def close(self) -> None:
        """Stop writing and delivering, and leave the run as it is; what is left is kept."""
        for courier in self._couriers:
            courier.stop()
        self.journal.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._owner and not isinstance(error, BusyError):  # else the run is the other's
            failed = isinstance(error, Exception)
            if failed or (not error and self.journal.latest("tag").get("error")):
                self.set_tags({"error": describe(error) if error else ""})
            self.finish("FAILED" if failed else "KILLED" if error else "FINISHED")
        else:
            self.close()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
