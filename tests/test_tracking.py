"""Stores that are broken, absent or silent."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.pool import Pool

from hw2 import tracking
from hw2.errors import ConfigError, StorageError
from hw2.tracking import prepare_store, refuse_silent
from tests.full_disks import small_disk
from tests.ports import free_port
from tests.stores import start

pytest_plugins = ["tests.store_fixtures"]


@pytest.fixture(scope="module", autouse=True)
def tables_made_once() -> None:
    """Here MLflow makes the tables of each store."""


def test_restores_a_deleted_experiment(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(tracking_uri=store)
    client.delete_experiment(tracking.prepare_store(store, "deleted"))
    assert start(tmp_path, store, experiment="deleted").finish()
    told = "warning: the experiment deleted had been deleted: it is there again, with all of its"
    assert told in capsys.readouterr().err


def test_times_are_those_at_which_it_was_logged(tmp_path: Path, store: str) -> None:
    """Also of what waited for the store."""
    tracker = start(tmp_path, store)
    tracker.log_row(3, {"loss": 1.0})
    time.sleep(0.01)
    assert tracker.finish()
    logged = {entry.kind: entry.time_ms for entry in tracker.journal.read(0)[0]}
    client = MlflowClient(tracking_uri=store)
    (point,) = client.get_metric_history(tracker.run_id, "loss")
    assert (point.step, point.timestamp) == (3, logged["metrics"])
    assert client.get_run(tracker.run_id).info.end_time == logged["status"]


def test_tables_are_made_fast_and_rows_written_safely(tmp_path: Path) -> None:
    modes = list[int]()

    def note(connection: sqlite3.Connection, *_: object) -> None:
        modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    event.listen(Pool, "checkout", note)
    try:
        made = f"sqlite:///{tmp_path}/made.db"
        assert start(tmp_path / "out", made).finish()
    finally:
        event.remove(Pool, "checkout", note)
    off = modes.index(2)
    assert off > 0 and set(modes[:off]) == {0} and set(modes[off:]) == {2}  # 2: SQLite's full


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 100)
    with pytest.raises(ConfigError, match=r"mlflow\.db .*move it away"):
        start(tmp_path / "out", f"sqlite:///{tmp_path}/mlflow.db")


def test_a_damaged_database_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"SQLite format 3\0" + b"no pages " * 100)
    with pytest.raises(ConfigError, match=r"cannot write the tracking store .*t\.db \("):
        prepare_store(f"sqlite:///{tmp_path}/t.db", "x")


def test_tables_for_which_there_is_no_room_leave_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "other").write_bytes(bytes(800_000))
        with pytest.raises(StorageError) as told:
            prepare_store(f"sqlite:///{disk}/t.db", "x")
        assert {path.name for path in disk.iterdir()} == {"other", "t.db.lock"}
    way_out = "make room, and the same command goes on"
    assert str(told.value) == f"the tracking store {disk}/t.db is on a disk that is full: {way_out}"


def test_a_full_disk_under_a_store_is_told_at_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3) as disk:
        uri = f"sqlite:///{disk}/t.db"
        prepare_store(uri, "x")
        with contextlib.suppress(OSError), (disk / "other").open("wb", buffering=0) as other:
            while other.write(bytes(4096)):
                pass
        begin = time.monotonic()
        with pytest.raises(StorageError, match=f"^the tracking store {uri} is on a disk that is f"):
            prepare_store(uri, "y")
        assert time.monotonic() - begin < 10


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    check = "import sys, hw2.runlog.tracker; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_no_server_at_the_start(tmp_path: Path) -> None:
    uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    begin = time.monotonic()
    with pytest.raises(ConfigError, match="unset MLFLOW_TRACKING_URI") as caught:
        start(tmp_path, uri, timeout=1.0)
    assert time.monotonic() - begin < 30
    assert "hunter2" not in str(caught.value) and "***@127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_accepts_but_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"within 1 s \(no answer\)"):
            start(tmp_path, uri, timeout=1.0)


def test_a_store_that_is_no_file_is_refused_and_stays(tmp_path: Path) -> None:
    """It was replaced by a database: /dev/null too, by whoever may."""
    pipe, folder, nowhere = tmp_path / "pipe", tmp_path / "folder", tmp_path / "nowhere"
    os.mkfifo(pipe)
    folder.mkdir()
    nowhere.symlink_to(tmp_path / "missing" / "t.db")
    for path in (pipe, folder, nowhere):
        before = path.lstat()
        for ask in (refuse_silent, partial(prepare_store, experiment="x")):
            with pytest.raises(ConfigError, match=rf"store {path} is not a regular file: move"):
                ask(f"sqlite:///{path}")
        assert path.lstat().st_mode == before.st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "folder", "nowhere"}


def test_a_store_of_another_kind_is_refused_before_a_folder_is_claimed(tmp_path: Path) -> None:
    (file := tmp_path / "notes.db").write_text("Buy milk, and much more than sixteen bytes of it.")
    with pytest.raises(ConfigError, match=rf"store {file} is no database .*: move it away, or set"):
        refuse_silent(f"sqlite:///{file}")
    (empty := tmp_path / "empty.db").touch()  # as `touch` or a kill leaves one: it becomes one
    refuse_silent(f"sqlite:///{empty}")
    prepare_store(f"sqlite:///{empty}", "x")
    refuse_silent(f"sqlite:///{empty}")
    assert "milk" in file.read_text()
