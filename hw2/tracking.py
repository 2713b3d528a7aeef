"""One MLflow run for each job. The only file that imports mlflow, and not before it must.

A Tracker writes to the journal in OUT; a courier thread brings that to MLflow. So training never
waits for a server, rows outlive its absence, and a job that continues in OUT continues its run.
MLflow's SQL stores keep a row that is sent twice once: (run, key, step, time, value) is the key.
"""

import contextlib
import csv
import fcntl
import json
import logging
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat, TypeVar

from hw2.errors import ConfigError
from hw2.journal import Courier, Entry, Journal, write_json

T = TypeVar("T")
logger = logging.getLogger("hw2.tracking")
STORES = re.compile(r"sqlite:///.|(https?|(postgresql|mysql|mssql)(\+\w+)?)://")
RUN_FILE = "mlflow_run.json"
PACKAGES = ("ray", "torch", "torchvision", "diffusers", "mlflow", "numpy")
ARTIFACT_TRIES = 5
# One attempt lasts seconds, because the courier tries again; and MLflow prints nothing by itself.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Tracker:
    """The job's run. Rows and files go to the journal at once and to MLflow in the background.

    Made by `start` (the driver) or `attach` (rank 0, in another process). Metrics are floats; a
    metric whose step is not beyond its last one is skipped, so a resumed run logs each step once.
    As a context manager it finishes the run, FAILED or KILLED if an exception leaves the block.
    """

    def __init__(self, out: Path, run_id: str, tracking_uri: str | None, owner: bool) -> None:
        self.out, self.run_id, self.tracking_uri, self._owner = out, run_id, tracking_uri, owner
        self.journal = Journal(out / "journal.jsonl")
        self._courier: Courier | None = None
        if tracking_uri:
            self._courier = Courier(
                self.journal, run_id, _Sender(tracking_uri, run_id, out), describe
            )

    @classmethod
    def start(
        cls,
        out: Path,
        *,
        experiment: str,
        run_name: str,
        config: Mapping[str, Any],
        config_file: Path | None = None,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        tracking_uri: str | None = None,
        timeout: float = 15.0,
    ) -> "Tracker":
        """Begin the run of the job in `out`, or continue the one that `out` began before.

        Args:
            out: The job's folder; holds the journal and `mlflow_run.json`.
            config: Resolved and nested; becomes dotted params of at most 500 characters. MLflow's
                params never change: one that differs in a continued run becomes the tag
                `resumed.NAME`.
            config_file: Logged as a file.
            tags: Beside `environment_tags()`.
            parent_run_id: The sweep's run, of which this is a trial.
            tracking_uri: Default MLFLOW_TRACKING_URI, else mlflow.db in the working folder.
            timeout: Seconds in which a server has to answer.

        Raises:
            ConfigError: the store is of an unknown kind or does not answer.
        """
        out.mkdir(parents=True, exist_ok=True)
        uri = resolve_uri(tracking_uri)
        parent = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
        experiment_id = prepare_store(uri, experiment, timeout)
        run_id = _within(timeout, uri, lambda: _open_run(out, uri, experiment_id, run_name, parent))
        tracker = cls(out, run_id, uri, owner=True)
        changed = tracker.journal.append_params({k: v[:500] for k, v in _flatten(config).items()})
        tracker.set_tags(environment_tags() | {f"resumed.{k}": v for k, v in changed.items()})
        tracker.set_tags(tags or {})
        tracker.journal.append("status", {"status": "RUNNING"})
        if config_file:
            tracker.log_file(config_file)
        return tracker

    @classmethod
    def attach(cls, out: Path, tracking_uri: str | None = None) -> "Tracker":
        """Write to the run that `start` began in `out`; deliver only when the driver is gone.

        Args:
            tracking_uri: Default what `start` used, or MLFLOW_TRACKING_URI if that has credentials.

        Raises:
            ConfigError: no run was begun in `out`.
        """
        record = _read_json(out / RUN_FILE)
        if "run_id" not in record:
            raise ConfigError(f"{out / RUN_FILE} names no run: call Tracker.start there first")
        known = str(record["tracking_uri"])
        uri = tracking_uri or (os.environ.get("MLFLOW_TRACKING_URI") if "***" in known else known)
        return cls(out, str(record["run_id"]), uri and resolve_uri(uri), owner=False)

    def log_row(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Log the metrics of `step`; takes about 0.1 ms, whatever the store does."""
        self.journal.append_row(step, metrics)

    def log_summary(self, metrics: Mapping[str, SupportsFloat]) -> None:
        """Log final numbers, at the last step; the newest value counts."""
        self.journal.append("summary", {k: float(v) for k, v in metrics.items()})

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Log a file into `folder` of the run, unless this content is there already."""
        self.journal.append_artifact(path, folder)

    def log_figure(self, path: Path) -> None:
        """Log a picture into the run's folder `figures`."""
        self.log_file(path, "figures")

    def log_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Log a table as `tables/NAME.csv`, and as JSON that MLflow shows as a table."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        csv_file, json_file = (self.out / "tables" / f"{name}.{kind}" for kind in ("csv", "json"))
        csv_file.parent.mkdir(exist_ok=True)
        with csv_file.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        data = [[row.get(column) for column in columns] for row in rows]
        write_json(json_file, {"columns": columns, "data": data})
        self.log_file(csv_file, "tables")
        self.log_file(json_file, "tables")
        shown = [k for k in self.journal.latest("artifact") if re.fullmatch(r"tables/.*\.json", k)]
        listed = [{"path": path, "type": "table"} for path in shown]
        self.set_tags({"mlflow.loggedArtifacts": json.dumps(listed)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, each cut at 5000 characters."""
        self.journal.append("tag", {k: str(v)[:5000] for k, v in tags.items()})

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait up to `timeout` seconds for all that was logged; return whether it is in MLflow."""
        return bool(self._courier and self._courier.flush(timeout))

    def finish(self, status: str = "FINISHED", timeout: float = 30.0) -> bool:
        """End the run as FINISHED, FAILED or KILLED; return whether all of it is in MLflow."""
        self.journal.append("status", {"status": status})
        if not (done := self.flush(timeout)):
            logger.warning(
                "not all rows reached %s: they are kept, the same command delivers them",
                mask(self.tracking_uri or ""),
            )
        self.close()
        return done

    def close(self) -> None:
        """Stop writing and delivering, and leave the run as it is; what is left is kept."""
        if self._courier:
            self._courier.stop()
        self.journal.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._owner:
            failed = "FAILED" if kind and issubclass(kind, Exception) else "KILLED"
            self.finish(failed if kind else "FINISHED")
        else:
            self.close()


class _Sender:
    """Sends entries to one run. Sending twice is harmless; what the store refuses is left out."""

    def __init__(self, uri: str, run_id: str, out: Path) -> None:
        self._uri, self._run_id, self._out, self._failures = uri, run_id, out, 0

    @cached_property
    def _client(self) -> Any:
        return _client(self._uri)  # in the courier's thread: the import takes seconds

    def __call__(self, entries: list[Entry]) -> None:
        self._send_or_leave(entries)
        self._failures = 0

    def _send_or_leave(self, entries: list[Entry]) -> None:
        try:
            self._send(entries)
        except Exception as error:
            if not self._in_vain(error, entries):
                raise
            if len(entries) == 1:
                what = f"{entries[0].kind} {', '.join(entries[0].values)}"[:200]
                logger.warning("MLflow refuses %s (%s): left out", what, describe(error))
            else:
                for entry in entries:
                    self._send_or_leave([entry])

    def _in_vain(self, error: Exception, entries: list[Entry]) -> bool:
        """Whether the run can be written, but not with this."""
        self._failures += 1
        files = any(entry.kind == "artifact" for entry in entries)
        refused = getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"
        if not refused and not (files and self._failures >= ARTIFACT_TRIES):
            return False
        return bool(self._client.get_run(self._run_id).info.lifecycle_stage == "active")

    def _send(self, entries: list[Entry]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        client, run_id = self._client, self._run_id
        pairs = [(entry, key, value) for entry in entries for key, value in entry.values.items()]
        metrics = [
            Metric(key, value, entry.time_ms, entry.step)
            for entry, key, value in pairs
            if entry.kind in ("metrics", "summary")
        ]
        params = [Param(key, value) for entry, key, value in pairs if entry.kind == "param"]
        tags = [RunTag(key, value) for entry, key, value in pairs if entry.kind == "tag"]
        for at in range(0, len(metrics), 1000):  # the most that one call may hold
            client.log_batch(run_id, metrics=metrics[at : at + 1000], synchronous=True)
        for at in range(0, max(len(params), len(tags)), 100):
            part = slice(at, at + 100)
            client.log_batch(run_id, params=params[part], tags=tags[part], synchronous=True)
        for entry, key, value in pairs:
            if entry.kind == "artifact":
                self._send_file(self._out / value["path"], os.path.dirname(key))
            elif entry.kind == "status" and value == "RUNNING":
                client.update_run(run_id, status=value)
            elif entry.kind == "status":
                client.set_terminated(run_id, value, entry.time_ms)

    def _send_file(self, path: Path, folder: str) -> None:
        if path.exists():
            self._client.log_artifact(self._run_id, str(path), folder or None)
        else:
            logger.warning("%s is gone before it reached MLflow: left out", path)


def resolve_uri(uri: str | None = None) -> str:
    """The tracking store: `uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the working folder.

    A relative sqlite path becomes absolute, so that workers in other folders mean the same file.

    Raises:
        ConfigError: not a store that keeps a row once (sqlite, postgresql, mysql, mssql, http).
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if not STORES.match(uri):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={mask(uri)} is not a store that keeps each row once: "
            "use sqlite:///mlflow.db, postgresql://..., mysql://..., mssql://... or http(s)://..."
        )
    path = uri.removeprefix("sqlite:///")
    return uri if path == uri else f"sqlite:///{Path(path).absolute()}"


def mask(text: str) -> str:
    """`text` without the credentials of the addresses in it."""
    if not text.startswith("sqlite:"):
        text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(?i)((?:password|passwd|pwd|token|secret|key)=)[^&\s]+", r"\1***", text)


def describe(error: Exception) -> str:
    """One line about an error, without credentials."""
    return f"{type(error).__name__}: {' '.join(mask(str(error)).split())}"[:200]


def ui_command(uri: str | None = None) -> str:
    """What opens the MLflow UI: a command, or the address of the server."""
    uri = resolve_uri(uri)
    if uri.startswith("http"):
        return re.sub(r"://\S*@", "://", uri)
    shown = shlex.quote(uri) if mask(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    return f"mlflow ui --backend-store-uri {shown} --port 5000"


def prepare_store(uri: str, experiment: str, timeout: float = 15.0) -> str:
    """Make the tables and the experiment, and return the experiment's id.

    The driver calls this before there are workers or trials: they would race to make them.

    Raises:
        ConfigError: a server does not answer within `timeout` seconds, or a file is no database.
    """
    if uri.startswith("sqlite:"):
        _prepare_sqlite(Path(uri.removeprefix("sqlite:///").partition("?")[0]))
    return _within(timeout, uri, lambda: _open_experiment(uri, experiment))


def _prepare_sqlite(path: Path) -> None:
    """Make the tables elsewhere and move them in whole: a race or a kill leaves half for ever."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or not path.stat().st_size:
                for stale in path.parent.glob(f"{path.name}.new*"):
                    stale.unlink()
                _client(f"sqlite:///{path}.new")
                path.with_name(f"{path.name}.new").replace(path)
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            database.execute("BEGIN IMMEDIATE")  # fails unless it is sound and writable
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"cannot write the tracking store {path} ({error}): move it away, or set "
            "MLFLOW_TRACKING_URI=sqlite:////another/file.db"
        ) from error


def environment_tags() -> dict[str, str]:
    """The git commit of this code, where it is a checkout, and the versions of what it uses."""
    tags = {"version.python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            tags[f"version.{name}"] = version(name)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _git("ls-files", "--error-unmatch", __file__)  # else it lies in another project's folder
        tags["mlflow.source.git.commit"] = _git("rev-parse", "HEAD")
        changed = _git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
        tags["git.dirty"] = str(bool(changed)).lower()
    return tags


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def _import_mlflow() -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow


def _client(uri: str) -> Any:
    return _import_mlflow().MlflowClient(tracking_uri=uri)


def _within(timeout: float, uri: str, call: Callable[[], T]) -> T:
    """Try `call` until it returns; a thread, because some of it cannot be interrupted."""
    _import_mlflow()  # which takes seconds that are not the store's
    results: list[T] = []
    reason = "no answer"
    deadline = time.monotonic() + timeout

    def work() -> None:
        nonlocal reason
        while not results and time.monotonic() < deadline:
            try:
                results.append(call())
            except Exception as error:
                reason = describe(error)
                time.sleep(0.3)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    if not results:
        way_out = "move it away" if uri.startswith("sqlite:") else "start it"
        raise ConfigError(
            f"the tracking store {mask(uri)} cannot be used within {timeout:g} s ({reason}): "
            f"{way_out}, or unset MLFLOW_TRACKING_URI to use mlflow.db in this folder"
        )
    return results[0]


def _open_experiment(uri: str, name: str) -> str:
    client = _client(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        folder = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
        local = folder.as_uri() if uri.startswith("sqlite:") else None
        return str(client.create_experiment(name, artifact_location=local))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _open_run(
    out: Path, uri: str, experiment_id: str, run_name: str, tags: Mapping[str, str]
) -> str:
    """The run that bears the key of `out`, if the store has it, else a new one."""
    client, record = _client(uri), _read_json(out / RUN_FILE)
    if "key" not in record:  # kept before the run exists: a kill in between leaves no orphan
        record = {"key": uuid.uuid4().hex}
        write_json(out / RUN_FILE, record)
    found = client.search_runs([experiment_id], f"tags.`hw2.key` = '{record['key']}'")
    tags = {**tags, "hw2.key": record["key"]}
    run = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=run_name)
    run_id = str(run.info.run_id)
    write_json(out / RUN_FILE, {**record, "run_id": run_id, "tracking_uri": mask(uri)})
    return run_id


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat
