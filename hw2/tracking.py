"""MLflow's stores: the only file that imports mlflow, and not before it must."""

import configparser
import contextlib
import getpass
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hw2.disclosure import describe, mask, warn
from hw2.errors import ConfigError
from hw2.runlog.addresses import sqlite_file, sqlite_uri
from hw2.runlog.sqlite_store import full, lacks_room, prepare_file, refuse_other_file

T = TypeVar("T")
Value = tuple[str, float, int, int]  # name, value, time in ms, step
# One attempt lasts seconds, because the courier tries again; and MLflow prints nothing by itself.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
# Another project's model, to which a store would have to add our rows: it refuses them.
FOREIGN = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")
ACCOUNT = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
REFUSED = {  # and the way out
    "UNAUTHENTICATED": ACCOUNT,
    "CUSTOMER_UNAUTHORIZED": ACCOUNT,
    "PERMISSION_DENIED": "it may not write there: ask the admin, or who began the experiment, for "
    "the permission EDIT, or MANAGE if the experiment has been deleted",
}
DATA_HASH = "data_hash."  # begins the tags with the hashes of the pictures that were read
DIGEST = 12  # characters of a hash that stand in the table of runs; MLflow has room for 36
_importing = threading.Lock()


def _import_mlflow() -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in FOREIGN:
        os.environ.pop(name, None)
    with _importing:  # its parts import each other: two threads would find half of it
        import mlflow

    if not hasattr(mlflow, "MlflowClient"):
        raise ConfigError(
            f"{mlflow.__file__} stands in the way of the package mlflow: rename it, or work in "
            "another folder"
        )
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow


def connect(uri: str) -> Any:
    """An MLflow client of the store at `uri`; the first one takes seconds."""
    return _import_mlflow().MlflowClient(tracking_uri=uri)


def origin(job: str) -> dict[str, str]:
    """Tags by which the UI names who started a job, and the job; it then shows its commit too.

    Who is the account at the server, else this machine's.
    """
    _import_mlflow()
    from mlflow.utils.credentials import read_mlflow_creds

    tags = {"mlflow.source.name": f"jobs.{job}", "mlflow.source.type": "LOCAL"}
    user = None
    with contextlib.suppress(OSError, ValueError, configparser.Error):  # of ~/.mlflow/credentials
        user = read_mlflow_creds().username
    with contextlib.suppress(KeyError, OSError):  # in a container the user may be a mere number
        tags["mlflow.user"] = user or getpass.getuser()
    return tags


def log_values(
    client: Any,
    run_id: str,
    metrics: Iterable[Value] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Send values to a run, in calls of the size that the stores allow.

    A tag data_hash.NAME is also the dataset NAME, by which MLflow's table of runs filters, but for
    a server that knows no datasets.
    """
    from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    sent = [Metric(name, value, time_ms, step) for name, value, time_ms, step in metrics]
    fixed = [Param(*pair) for pair in (params or {}).items()]
    marks = [RunTag(*pair) for pair in (tags or {}).items()]
    for at in range(0, len(sent), 1000):
        client.log_batch(run_id, metrics=sent[at : at + 1000], synchronous=True)
    for at in range(0, max(len(fixed), len(marks)), 100):
        part = slice(at, at + 100)
        client.log_batch(run_id, params=fixed[part], tags=marks[part], synchronous=True)
    read = {t.key.removeprefix(DATA_HASH): t.value for t in marks if t.key.startswith(DATA_HASH)}
    if seen := [Dataset(name, found[:DIGEST], "sha256", found) for name, found in read.items()]:
        try:
            client.log_inputs(run_id, [DatasetInput(dataset) for dataset in seen])
        except MlflowException as error:  # else all that comes later would wait for it
            if error.error_code != "ENDPOINT_NOT_FOUND":
                raise


def refuse_silent(uri: str, timeout: float = 15.0) -> None:
    """Raise ConfigError if the server at `uri` does not answer within `timeout` seconds.

    Nothing is made there. A file does not have to answer, but is a database, or not there yet.
    """
    if path := sqlite_file(uri):
        refuse_other_file(path)
    else:
        _within(timeout, uri, lambda: connect(uri).search_experiments(max_results=1))


def prepare_store(uri: str, experiment: str, timeout: float = 15.0) -> str:
    """Make the tables and the experiment, and return the experiment's id.

    The driver calls this before there are workers or trials: they would race to make them.

    Raises:
        ConfigError: a server does not answer within `timeout` seconds, a file within four times
            that, or it is no database.
        StorageError: its disk is full.
    """
    if path := sqlite_file(uri):
        prepare_file(path, _make_tables)
    return _within(timeout, uri, lambda: _open_experiment(uri, experiment))


def open_run(
    uri: str,
    experiment_id: str,
    key: str,
    run_name: str,
    tags: Mapping[str, str],
    timeout: float = 15.0,
    seconds: float = 0.0,
) -> str:
    """The id of the run that bears `key` in the tag hw2.key.

    If there is none it is begun with `tags`, as of so many `seconds` ago.

    Raises:
        ConfigError: the store does not answer in that time (a file: in four times that).
        StorageError: its disk is full.
    """

    def find_or_create() -> str:
        client = connect(uri)
        found = client.search_runs([experiment_id], f"tags.`hw2.key` = '{key}'")
        all_tags = {**tags, "hw2.key": key}
        if found:
            return str(found[0].info.run_id)
        began = int(1000 * (time.time() - seconds))
        return str(client.create_run(experiment_id, began, all_tags, run_name).info.run_id)

    return _within(timeout, uri, find_or_create)


def _make_tables(path: Path) -> None:
    """MLflow's tables in a new file, brought to the disk once, not after each of their commits."""
    _import_mlflow()
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    def hurry(connection: sqlite3.Connection, _: object) -> None:
        *_, file = connection.execute("PRAGMA database_list").fetchone()
        if Path(file).name == path.name:  # another thread may reach another store
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Pool, "connect", hurry)
    try:
        connect(sqlite_uri(path))
    finally:
        event.remove(Pool, "connect", hurry)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _within(timeout: float, uri: str, call: Callable[[], T]) -> T:
    """Try `call` until it returns; a thread, because some of it cannot be interrupted."""
    _import_mlflow()  # which takes seconds that are not the store's
    if sqlite_file(uri):
        timeout *= 4  # a file does not go away: it waits for the processor and for other writers
    results: list[T] = []
    refused = ""
    lacking = False
    reason = "no answer"
    deadline = time.monotonic() + timeout

    def work() -> None:
        nonlocal reason, refused, lacking
        while not results and time.monotonic() < deadline:
            try:
                results.append(call())
            except Exception as error:
                reason = describe(error)
                if (code := getattr(error, "error_code", "")) in REFUSED:
                    refused = REFUSED[code]  # to ask again would not help
                    return
                if lacking := lacks_room(error):  # nor here
                    return
                time.sleep(0.3)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    if refused:
        raise ConfigError(
            f"the tracking server {mask(uri)} refuses this account ({reason}): {refused} "
            "(docs/mlflow.md)"
        )
    if lacking:
        raise full(mask(uri))
    if not results:
        way_out = "move it away" if uri.startswith("sqlite:") else "start it"
        raise ConfigError(
            f"the tracking store {mask(uri)} cannot be used within {timeout:g} s ({reason}): "
            f"{way_out}, or unset MLFLOW_TRACKING_URI to use mlflow.db in this folder"
        )
    return results[0]


def _open_experiment(uri: str, name: str) -> str:
    client = connect(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        store = sqlite_file(uri)
        local = (store.parent / "mlartifacts").as_uri() if store else None
        # By this older UIs open on runs and curves, not on their pages for traces of language
        # models; newer ones have a switch for it, which a store cannot set.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=local, tags=kind))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        warn(f"the experiment {name} had been deleted: it is there again, with all of its runs")
    return str(experiment.experiment_id)
