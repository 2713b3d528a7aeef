"""What the store refuses or cannot take does not hold up the rest."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from hw2.runlog.delivery import Delivery
from hw2.runlog.entries import Entry
from tests.stores import expected, history, start
from tests.waiting import wait_for

pytest_plugins = ["tests.store_fixtures"]


def test_what_the_store_refuses_does_not_hold_up_the_rest(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(tmp_path, store)
    gone = tmp_path / "gone.png"
    gone.write_bytes(b"x")
    tracker.log_figure(gone)
    gone.unlink()
    tracker.log_row(0, {"loss": 0.0, "bad*name": 1.0})
    tracker.log_row(1, {"good": 1.0})
    assert tracker.finish()
    assert history(store, tracker.run_id, "good") == [(1, 1.0)]
    assert "bad*name" in caplog.text and "gone.png is gone" in caplog.text


def test_rows_wait_while_their_run_is_deleted(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw2.runlog.tracker.TELL_SECONDS", 0.0)
    tracker, client = start(tmp_path, store), MlflowClient(tracking_uri=store)
    assert tracker.flush()
    client.delete_run(tracker.run_id)
    tracker.log_row(0, {"loss": 0.0})
    assert not tracker.flush(1.0)
    assert "waiting for MLflow, up to 1 s more" in caplog.text
    client.restore_run(tracker.run_id)
    assert tracker.finish()
    assert history(store, tracker.run_id) == expected(1)


def test_a_row_that_comes_as_its_run_is_restored_is_not_taken_for_refused(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store answers that the run is deleted; asked then whether it is, it is not."""
    tracker, client = start(tmp_path, store), MlflowClient(tracking_uri=store)
    assert tracker.finish()
    client.delete_run(tracker.run_id)
    asked = Delivery._refused

    def restored(self: Delivery, error: Exception) -> bool:
        if client.get_run(tracker.run_id).info.lifecycle_stage == "deleted":
            client.restore_run(tracker.run_id)
        return asked(self, error)

    monkeypatch.setattr(Delivery, "_refused", restored)
    row = Entry("metrics", 1, {"loss": 0.0}, step=0)
    Delivery(store, tracker.run_id, tmp_path).rows([row])
    assert history(store, tracker.run_id) == expected(1)


def artifacts(uri: str, run_id: str, folder: str) -> Path:
    """Where the run's files of `folder` go in a local store."""
    root = MlflowClient(tracking_uri=uri).get_run(run_id).info.artifact_uri
    return Path(root.removeprefix("file://")) / folder


def test_a_file_that_cannot_be_stored_holds_up_neither_rows_nor_files(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(tmp_path, store)
    blocked = artifacts(store, tracker.run_id, "figures")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    for name in ("sheet.png", "strip.png"):
        (tmp_path / name).write_bytes(b"picture")
    tracker.log_figure(tmp_path / "sheet.png")
    for step in range(1200):  # several batches behind it
        tracker.log_row(step, {"loss": step / 8})
    tracker.log_file(tmp_path / "strip.png", "strips")
    strip = artifacts(store, tracker.run_id, "strips/strip.png")
    wait_for(lambda: history(store, tracker.run_id) == expected(1200) and strip.exists())
    assert not tracker.flush(1.0)
    assert strip.read_bytes() == b"picture"
    sent = strip.stat().st_ctime_ns

    blocked.unlink()
    assert tracker.finish()
    assert (blocked / "sheet.png").read_bytes() == b"picture"
    assert strip.stat().st_ctime_ns == sent
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "tracking is away",
        f"{tracker.out}: tracking is back: the files that were kept are on their way",
    ]


def test_files_left_behind_are_delivered_by_the_same_command(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = start(tmp_path, store)
    blocked = artifacts(store, first.run_id, "figures")
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    (tmp_path / "sheet.png").write_bytes(b"picture")
    first.log_figure(tmp_path / "sheet.png")
    assert not first.finish(timeout=5.0)
    assert "the same command delivers" in caplog.text
    assert MlflowClient(tracking_uri=store).get_run(first.run_id).info.status == "FINISHED"

    blocked.unlink()
    assert start(tmp_path, store).finish()
    assert (blocked / "sheet.png").read_bytes() == b"picture"
