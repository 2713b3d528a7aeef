"""What a courier carries: all, in order, once, whoever is away in between."""

import errno
import threading
import time
from pathlib import Path

import pytest

from hw2.data.files import write_json
from hw2.runlog import courier
from hw2.runlog.courier import Courier, What, mark_of
from hw2.runlog.entries import Entry
from hw2.runlog.journal import Journal
from tests.waiting import wait_for


class Receiver:
    """Keeps what arrives; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.entries: list[Entry] = []
        self.failures = failures

    def __call__(self, entries: list[Entry]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("nobody there")
        self.entries += entries

    @property
    def steps(self) -> list[int]:
        return [entry.step for entry in self.entries]


def test_courier_delivers_all_in_order_and_goes_on_where_it_was(journal: Journal) -> None:
    for step in range(1200):  # more than one batch
        journal.append_row(step, {"loss": 1.0})
    first, second, other = Receiver(), Receiver(), Receiver()
    courier = Courier(journal, "run", first)
    assert courier.flush(5.0) and first.steps == list(range(1200))
    courier.stop()
    journal.append_row(1200, {"loss": 1.0})
    courier = Courier(journal, "run", second)
    assert courier.flush(5.0) and second.steps == [1200]
    courier.stop()
    courier = Courier(journal, "another run", other)
    assert courier.flush(5.0) and other.steps == list(range(1201))
    courier.stop()


def test_courier_tries_again_and_says_so_once(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(failures=3)
    journal.append_row(0, {"loss": 1.0})
    courier = Courier(journal, "run", receiver)
    assert courier.flush(10.0) and receiver.steps == [0]
    courier.stop()
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "tracking is away",
        f"{journal.path.parent}: tracking is back: the rows that were kept are on their way",
    ]
    assert "nobody there" in caplog.text and str(journal.path) in caplog.text


def test_pauses_begin_small_again_once_it_is_back_or_someone_waits(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    wait = threading.Event.wait

    def hurried(event: threading.Event, seconds: float | None = None) -> bool:
        if threading.current_thread().name == "courier of rows":
            pauses.append(seconds or 0.0)
        return wait(event, seconds and min(seconds, 0.01))

    monkeypatch.setattr(threading.Event, "wait", hurried)
    ours = Courier(journal, "run", (receiver := Receiver()))
    for step in (0, 1):
        receiver.failures = 4
        journal.append_row(step, {"loss": 1.0})
        wait_for(lambda step=step: step in receiver.steps)
    assert [pause for pause in pauses if pause > courier.POLL_SECONDS] == [2.0, 4.0] * 2
    receiver.failures = 10**9
    journal.append_row(2, {"loss": 1.0})
    wait_for(lambda: pauses[-1] == courier.MAX_PAUSE_SECONDS)
    before = pauses.count(0.5)
    ours.flush(0.0)
    wait_for(lambda: pauses.count(0.5) > before)
    ours.stop()


def test_a_full_disk_is_not_called_a_server_that_is_away(
    journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    journal.append_row(0, {"loss": 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(courier, "write_json", full)
        ours = Courier(journal, "run", (receiver := Receiver()))
        assert not ours.flush(0.3)
    assert ours.flush(5.0) and set(receiver.steps) == {0}
    ours.stop()
    told, then = (record.message for record in caplog.records)
    assert told.startswith("no room for tracking (OSError: [Errno 28] No space left on device: ")
    assert told.endswith(f": rows are kept in {journal.path} until there is")
    assert then.startswith(f"{journal.path.parent}: tracking is back: the rows")


def test_lines_beyond_the_limit_wait(journal: Journal) -> None:
    """As rows do that are not in the bucket yet: a later start would log them once more."""
    ends = []
    for step in range(3):
        journal.append_row(step, {"loss": 1.0})
        ends.append(journal.path.stat().st_size)
    receiver, limit = Receiver(), ends[2] - 1
    courier = Courier(journal, "run", receiver, limit=lambda: limit)
    assert not courier.flush(0.3) and receiver.steps == [0, 1]
    limit = ends[2]
    assert courier.flush(5.0) and receiver.steps == [0, 1, 2]
    courier.stop()


def test_what_is_sent_outlives_a_power_cut(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that the receiver keeps and the journal lost would be logged twice."""
    done: list[str] = []
    sync = Journal.sync
    monkeypatch.setattr(Journal, "sync", lambda of: (sync(of), done.append("synced")))
    journal.append_row(0, {"loss": 1.0})
    courier = Courier(journal, "run", lambda entries: done.append("sent"))
    assert courier.flush(5.0)
    courier.stop()
    assert done == ["synced", "sent"]


def test_one_courier_at_a_time_and_the_next_takes_over(journal: Journal) -> None:
    first, second = Receiver(), Receiver()
    driver = Courier(journal, "run", first)
    journal.append_row(0, {"loss": 1.0})
    assert driver.flush(5.0)
    worker = Courier(journal, "run", second)
    journal.append_row(1, {"loss": 1.0})
    assert worker.flush(5.0)  # waits for what the driver carries
    assert second.steps == [] and first.steps == [0, 1]
    driver.stop()
    journal.append_row(2, {"loss": 1.0})
    assert worker.flush(5.0) and second.steps == [2]
    worker.stop()


@pytest.mark.parametrize(
    "mark", ['{"key": "run", "offset": 10000}', '{"key": "run", "offset": -9}', "[" * 10**5]
)
def test_a_mark_from_another_journal_does_not_hide_rows(journal: Journal, mark: str) -> None:
    journal.path.with_suffix(".delivered").write_text(mark)
    journal.append_row(0, {"loss": 1.0})
    receiver = Receiver()
    courier = Courier(journal, "run", receiver)
    assert courier.flush(5.0) and receiver.steps == [0]
    courier.stop()


@pytest.mark.parametrize("what", ["rows", "files"])
def test_a_mark_beyond_the_journal_is_not_believed_once_that_has_grown(
    journal: Journal, what: What
) -> None:
    """In a bucket the mark of files may be newer than the journal, when all is killed."""

    def log(step: int) -> None:
        picture = journal.path.with_name(f"{step}.png")
        picture.write_bytes(b"picture")
        journal.append_row(step, {"loss": 1.0})
        journal.append_artifact(picture)

    log(0)
    write_json(mark_of(journal.path, what), {"key": "run", "offset": 1000})
    receiver = Receiver(failures=1)
    courier = Courier(journal, "run", receiver, what=what)
    for step in range(1, 20):
        log(step)
    assert journal.path.stat().st_size > 1000
    assert courier.flush(5.0) and len(receiver.entries) == 20
    courier.stop()


def test_flush_says_when_it_waited_in_vain(journal: Journal) -> None:
    courier = Courier(journal, "run", Receiver(failures=1000))
    journal.append_row(0, {"loss": 1.0})
    begin = time.monotonic()
    assert not courier.flush(0.3)
    assert time.monotonic() - begin >= 0.3
    courier.stop()
