"""Two writers of one folder, each in a process of its own."""

import contextlib
import errno
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hw2 import lock
from hw2.config import JobConfig
from hw2.errors import BusyError, ConfigError
from hw2.job import claim_out
from hw2.lock import only_writer
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


def test_a_folder_that_was_moved_aside_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with contextlib.ExitStack() as holder:
        holder.enter_context(only_writer(out))

        def meanwhile(seconds: float) -> None:
            out.rename(tmp_path / "out.old-1")
            out.mkdir()
            (out / ".lock").touch()
            holder.close()
            monkeypatch.setattr(lock.time, "sleep", lambda seconds: None)

        monkeypatch.setattr(lock.time, "sleep", meanwhile)
        with pytest.raises(BusyError), only_writer(out, 0.3):
            pytest.fail("held what was moved")
    with only_writer(out, 0.0):
        pass


def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    refused = pytest.raises(ConfigError, match=r"cannot be locked \(No locks available\): choose")
    with refused, only_writer(tmp_path):
        pytest.fail("held")


def test_a_folder_in_which_another_run_writes_is_not_moved_aside(tmp_path: Path) -> None:
    config = JobConfig(out=tmp_path / "out")
    out, another = claim_out(config, inputs={"model": "a"}), {"model": "b"}
    overwrite = config.model_copy(update={"overwrite": True})
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
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
