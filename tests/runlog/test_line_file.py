"""A disk that is full: every line is there once when it has room again, and nothing is raised."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hw2.runlog import line_file
from hw2.runlog.journal import Journal
from hw2.runlog.line_file import LineFile, read_lines
from tests.stores import expected, history

pytest_plugins = ["tests.store_fixtures"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel takes bytes up to `size` of any file, as a disk that becomes full in mid-line."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line, _ in read_lines(path, 0)]


@pytest.mark.parametrize("room", [0, 1, 50])
def test_rows_wait_for_the_disk(
    tmp_path: Path, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append_row(0, {"loss": 0.0})
    with files_of_at_most(journal.path.stat().st_size + room):
        for step in range(1, 20):
            assert journal.append_row(step, {"loss": step / 8})
            assert not journal.append_row(step, {"loss": -1.0})  # waits already
        assert not journal.settle()
        assert steps(journal.path) == [0]
    assert len(caplog.records) == 1 and str(journal.path) in caplog.text
    assert journal.append_row(20, {"loss": 20 / 8})
    assert steps(journal.path) == list(range(21)) and journal.settle()
    assert journal.latest("metrics") == {"loss": 20}
    assert Journal(journal.path).latest("metrics") == {"loss": 20}


def test_another_writer_may_come_between(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path / "journal.jsonl") for _ in range(2))
    first.append_row(0, {"loss": 0.0})
    with files_of_at_most(first.path.stat().st_size + 10):
        first.append_row(1, {"loss": 0.0})  # leaves a torn line
    second.append("tag", {"a": "1"})
    first.append_row(2, {"loss": 0.0})
    assert steps(first.path) == [0, 0, 1, 2]  # the tag belongs to the last step that was written
    assert second.latest("metrics") == {"loss": 2}


def test_what_is_whole_is_not_cut(tmp_path: Path) -> None:
    """A disk that takes nothing any more refuses even that."""
    lines = LineFile(tmp_path / "lines")
    lines.append(b"0\n")
    with (tmp_path / "lines").open("rb", buffering=0) as lines._file:
        assert list(lines.news()) == [b"0\n"]


def test_what_waits_is_bounded_and_its_loss_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(line_file, "MAX_WAITING", 3)
    lines = LineFile(tmp_path / "lines")
    with files_of_at_most(0):
        for number in range(5):
            with lines.locked():
                assert list(lines.news()) == []
                lines.append(b"%d\n" % number)
    with lines.locked():
        assert lines.retry()
    assert (tmp_path / "lines").read_bytes() == b"2\n3\n4\n"
    with files_of_at_most(0), lines.locked():
        lines.append(b"5\n")
        assert not lines.retry()
    lines.close()
    assert "1 lines are lost" in caplog.text


RUN = """
import sys
from pathlib import Path
from hw2.runlog.tracker import Tracker
from tests.runlog.test_line_file import files_of_at_most
out = Path(sys.argv[1])
tracker = Tracker.start(out, tracking_uri=sys.argv[2], experiment="digits", run_name="full",
                        config={})
tracker.log_row(0, {"loss": 0.0})
assert tracker.flush()
with files_of_at_most((out / "journal.jsonl").stat().st_size + 30):
    for step in range(1, 50):
        tracker.log_row(step, {"loss": step / 8})
    assert not tracker.flush(0.5)
tracker.log_row(50, {"loss": 50 / 8})
assert tracker.finish()
print(tracker.run_id)
"""


def test_a_run_survives_a_full_disk(tmp_path: Path, store: str) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path), store]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert history(store, done.stdout.strip()) == expected(51)
    assert done.stderr.count("cannot write") == 1


def test_synced_lines_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    lines = LineFile(tmp_path / "lines")
    lines.sync()
    assert synced == [(tmp_path / "lines").stat().st_ino]
