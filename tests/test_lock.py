"""Two writers of one folder, each in a process of its own."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest
from mlflow import MlflowClient

from hw2 import lock
from hw2.config import JobConfig
from hw2.errors import BusyError, ConfigError
from hw2.lock import one_of_writers, only_writer
from hw2.results import claim_out
from hw2.runlog.tracker import Tracker

HOLD = """
import sys, time
from functools import partial
from pathlib import Path
from hw2.lock import only_writer
from hw2.runlog.tracker import Tracker
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_one_that_nfs_grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which asks for reading for a shared lock, and for writing for a sole one."""
    modes = []
    flock = fcntl.flock

    def seen(file: TextIO, how: int) -> None:
        modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)
        flock(file, how)

    monkeypatch.setattr(lock.fcntl, "flock", seen)
    with one_of_writers(tmp_path), one_of_writers(tmp_path):
        pass
    with only_writer(tmp_path):
        pass
    assert modes == [os.O_RDWR] * 3


def test_one_process_writes_and_its_death_lets_the_next_in(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            refused = pytest.raises(BusyError, match="another run is writing there")
            with refused, only_writer(tmp_path, 0.3):
                pytest.fail("two writers")
        finally:
            holder.kill()
    with only_writer(tmp_path, 5.0):
        pass


def test_who_waits_holds_the_folder_that_stands_there_and_not_the_one_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, old, waits = tmp_path / "out", tmp_path / "out.old-1", 0
    out.mkdir()
    with contextlib.ExitStack() as holder:
        holder.enter_context(only_writer(out))

        def meanwhile(seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 1:
                out.rename(old)  # the holder's next step makes it anew
            elif waits == 2:
                out.mkdir()
                holder.close()

        monkeypatch.setattr(lock.time, "sleep", meanwhile)
        with only_writer(out, 10.0):
            with only_writer(old, 0.0):
                pass  # that one is free
            with pytest.raises(BusyError), only_writer(out, 0.0):
                pytest.fail("two writers")
    assert waits == 2


def test_one_alone_waits_for_all_who_write_together(tmp_path: Path) -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(one_of_writers(tmp_path))
        second.enter_context(one_of_writers(tmp_path))
        for writer in (first, second):
            with pytest.raises(BusyError), only_writer(tmp_path, 0.0):
                pytest.fail("alone beside others")
            writer.close()
    with only_writer(tmp_path, 0.0):
        refused = pytest.raises(BusyError, match="another run is writing there")
        with refused, one_of_writers(tmp_path):
            pytest.fail("beside one alone")


def test_waiting_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "TELL_SECONDS", 0.1)
    with only_writer(tmp_path):
        with pytest.raises(BusyError), only_writer(tmp_path, 0.05):
            pytest.fail("two writers")
        assert capsys.readouterr().err == ""
        with pytest.raises(BusyError), only_writer(tmp_path, 0.6):
            pytest.fail("two writers")
    told = f"another run is writing in {tmp_path}: waiting for its end, 1 s at most"
    assert capsys.readouterr().err == f"warning: {told}\n"


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    refused = pytest.raises(ConfigError, match=r"cannot be locked \(No locks available\): choose")
    with refused, only_writer(tmp_path):
        pytest.fail("held")


def test_a_folder_in_which_another_run_writes_is_not_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = JobConfig(out=tmp_path / "out")
    out, another = claim_out(config, inputs={"model": "a"}), {"model": "b"}
    overwrite = config.model_copy(update={"overwrite": True})
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            monkeypatch.setattr("hw2.results.only_writer", partial(only_writer, patience=0.3))
            with pytest.raises(BusyError, match="another run is writing there"):
                claim_out(overwrite, inputs=another)
        finally:
            holder.kill()
    claim_out(overwrite, inputs=another)
    assert (tmp_path / "out.old-1").is_dir()


def test_who_is_refused_leaves_the_others_run_as_it_is(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/t.db"
    begin = partial(Tracker.start, tmp_path / "out", experiment="toy", run_name="toy", config={})
    first = begin(tracking_uri=store)
    with pytest.raises(BusyError), begin(tracking_uri=store) as second:
        assert second.run_id == first.run_id
        raise BusyError("another run is writing there")
    run = MlflowClient(store).get_run(first.run_id)
    assert (run.info.status, run.info.end_time) == ("RUNNING", None)
    assert first.finish()
