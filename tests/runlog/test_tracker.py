"""The run of a job in a real sqlite store: all of it, each row once, through kills."""

import contextlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from hw2.errors import ConfigError
from hw2.runlog.tracker import Tracker
from tests.stores import expected, history, start
from tests.waiting import wait_for

pytest_plugins = ["tests.store_fixtures"]


def test_all_of_a_run_is_in_the_store(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    config_file, sheet = tmp_path / "out/config.yaml", tmp_path / "out/sheet.png"
    config_file.write_text("train: {lr: 0.002}\n")
    sheet.write_bytes(b"picture")
    parent = start(tmp_path / "parent", store)
    with start(
        tmp_path / "out",
        store,
        tags={"dataset.sha256": "abc"},
        parent_run_id=parent.run_id,
    ) as tracker:
        tracker.log_file(config_file)
        for step in range(5):
            tracker.log_row(step, {"loss": step / 8, "lr": math.nan})
        tracker.log_figure(sheet)
        tracker.log_table("scores", [{"digit": 0, "accuracy": 0.5}, {"digit": 1, "fid": 2.0}])
        tracker.log_summary({"eval/accuracy": 0.75})
    parent.finish()

    client = MlflowClient(tracking_uri=store)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.end_time >= run.info.start_time
    assert run.data.params == {
        "train.lr": "0.002",
        "train.betas": "[0.9, 0.99]",
        "data": "{}",
        "note": "x" * 500,
        "ema": "null",
    }
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.data.tags["dataset.sha256"] == "abc" and "version.torch" in run.data.tags
    assert run.data.metrics["eval/accuracy"] == 0.75
    assert history(store, tracker.run_id) == expected(5)
    rates = history(store, tracker.run_id, "lr")
    assert len(rates) == 5 and all(math.isnan(value) for _, value in rates)
    files = {f.path for folder in (None, "figures", "tables")
             for f in client.list_artifacts(tracker.run_id, folder) if not f.is_dir}  # fmt: skip
    assert files == {"config.yaml", "figures/sheet.png", "tables/scores.csv", "tables/scores.json"}
    assert (
        tmp_path / "out/tables/scores.csv"
    ).read_text() == "digit,accuracy,fid\n0,0.5,\n1,,2.0\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # load_table asks the default store
    table = client.load_table(run.info.experiment_id, "tables/scores.json", [tracker.run_id])
    assert table["digit"].tolist() == [0, 1]


def test_metrics_are_json_for_others(tmp_path: Path, store: str) -> None:
    with start(tmp_path, store) as tracker:
        tracker.log_metrics({"eta": {"low": math.inf, "all": (1.0, math.nan)}})
    metrics = (tmp_path / "metrics.json").read_text()
    assert json.loads(metrics) == {"eta": {"low": None, "all": [1.0, None]}}
    assert "NaN" not in metrics and "Infinity" not in metrics


def test_the_run_shows_all_its_tables(tmp_path: Path, store: str) -> None:
    for names in (("trials", "differences"), ("differences", "more")):
        with start(tmp_path, store) as tracker:
            for name in names:
                tracker.log_table(name, [{"value": len(names)}])
    tags = MlflowClient(tracking_uri=store).get_run(tracker.run_id).data.tags
    shown = [one["path"] for one in json.loads(tags["mlflow.loggedArtifacts"])]
    assert shown == [f"tables/{name}.json" for name in ("trials", "differences", "more")]


def test_what_is_added_to_a_full_tag_takes_the_place_of_the_oldest(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, "run", None, owner=True)
    for text, want in (
        ("one", "one"),
        ("two", "one, two"),
        ("x" * 4990, "one, two, " + "x" * 4990),
        ("y", ", two, " + "x" * 4990 + ", y"),
    ):
        tracker.add_to_tag("seen", text)
        assert tracker.journal.latest("tag")["seen"] == want
    tracker.close()


def test_an_empty_table_replaces_one_of_a_start_before(tmp_path: Path, store: str) -> None:
    with start(tmp_path, store) as tracker:
        tracker.log_table("differences", [])
        assert not (tmp_path / "tables").exists()
        tracker.log_table("differences", [{"domain": "svhn", "value": 0.5}])
    with start(tmp_path, store) as tracker:
        tracker.log_table("differences", [])
    assert (tmp_path / "tables/differences.csv").read_text() == "domain,value\n"
    kept = MlflowClient(tracking_uri=store).download_artifacts(
        tracker.run_id, "tables/differences.json", str(tmp_path)
    )
    assert json.loads(Path(kept).read_text()) == {"columns": ["domain", "value"], "data": []}


def test_the_same_out_continues_the_same_run(tmp_path: Path, store: str) -> None:
    first = start(tmp_path, store)
    for step in range(6):
        first.log_row(step, {"loss": step / 8})
    first.finish("FAILED")
    changed = {"train": {"lr": 1e-3, "num_steps": 9}}
    second = start(tmp_path, store, config=changed)
    for step in range(4, 9):  # from the checkpoint at step 4
        second.log_row(step, {"loss": step / 8})
    assert second.finish() and second.run_id == first.run_id
    run = MlflowClient(tracking_uri=store).get_run(first.run_id)
    assert run.info.status == "FINISHED" and history(store, first.run_id) == expected(9)
    assert (run.data.params["train.lr"], run.data.params["train.num_steps"]) == ("0.002", "9")
    assert run.data.tags["resumed.train.lr"] == "0.001"


def test_the_last_figure_counts_also_by_a_clock_that_went_back(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a step MLflow takes the value with the latest time; a run ends after its beginning."""
    now = time.time_ns
    for accuracy, late in ((0.1, 0), (0.9, 86_400), (0.5, 86_400)):
        monkeypatch.setattr(time, "time_ns", lambda late=late: now() - late * 10**9)
        with start(tmp_path / "out", store) as tracker:
            tracker.log_summary({"eval/accuracy": accuracy})
        run = MlflowClient(store).get_run(tracker.run_id)
        assert run.data.metrics["eval/accuracy"] == accuracy
        assert run.info.end_time >= run.info.start_time


def test_an_older_copy_of_the_store_gets_every_row(tmp_path: Path, store: str) -> None:
    """It has the run, and was taken to have the rows that came later to the other."""
    path = Path(store.removeprefix("sqlite:///"))
    older = path.with_name("older.db")
    first = start(tmp_path / "out", store)
    assert first.flush()
    shutil.copy(path, older)
    first.log_row(0, {"loss": 0.0})
    assert first.flush()
    first.close()
    second = start(tmp_path / "out", f"sqlite:///{older}")
    second.log_row(1, {"loss": 1 / 8})
    assert second.finish() and second.run_id == first.run_id
    assert history(f"sqlite:///{older}", first.run_id) == expected(2)


def test_a_deleted_run_is_replaced_and_gets_every_row(tmp_path: Path, store: str) -> None:
    first = start(tmp_path, store)
    first.log_row(0, {"loss": 0.0})
    assert first.finish()
    MlflowClient(tracking_uri=store).delete_run(first.run_id)
    second = start(tmp_path, store)
    second.log_row(1, {"loss": 1 / 8})
    assert second.finish() and second.run_id != first.run_id
    assert history(store, second.run_id) == expected(2)
    assert start(tmp_path, store).run_id == second.run_id


def test_a_kill_between_send_and_mark_doubles_nothing(tmp_path: Path, store: str) -> None:
    first = start(tmp_path, store)
    for step in range(50):
        first.log_row(step, {"loss": step / 8, "nan": math.nan, "inf": math.inf})
    assert first.flush()
    first.close()
    (tmp_path / "journal.delivered").unlink()  # as if never kept: all is sent again
    second = start(tmp_path, store)
    second.log_row(50, {"loss": 50 / 8})
    assert second.finish()
    assert history(store, second.run_id) == expected(51)
    assert len(history(store, second.run_id, "nan")) == 50
    assert len(history(store, second.run_id, "inf")) == 50


WRITER = """
import sys, time
from pathlib import Path
from hw2.runlog.tracker import Tracker
tracker = Tracker.start(Path(sys.argv[1]), tracking_uri=sys.argv[2], experiment="digits",
                        run_name="killed", config={})
first = int(sys.argv[3])
for step in range(first, 100_000):
    tracker.log_row(step, {"loss": step / 8})
    time.sleep(0.002)
"""


def test_killed_driver_leaves_each_step_once(tmp_path: Path, store: str) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), store, "0"]
    writer = subprocess.Popen(command)
    journal, mark = tmp_path / "journal.jsonl", tmp_path / "journal.delivered"
    wait_for(mark.exists)
    first = mark.read_text()
    wait_for(lambda: mark.read_text() != first and journal.stat().st_size > 20_000)  # it sends rows
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    tracker = start(tmp_path, store)
    last = tracker.journal.latest("metrics")["loss"]
    assert last > 100
    for step in range(last - 90, last + 10):  # recomputes what the last checkpoint lacks
        tracker.log_row(step, {"loss": step / 8})
    assert tracker.finish()
    assert history(store, tracker.run_id) == expected(last + 10)


def test_rank_zero_writes_and_the_driver_delivers(tmp_path: Path, store: str) -> None:
    driver = start(tmp_path, store)
    assert driver.flush()
    worker = Tracker.attach(tmp_path)
    assert worker.run_id == driver.run_id and worker.tracking_uri == store
    for step in range(10):
        worker.log_row(step, {"loss": step / 8})
    worker.close()
    driver.log_row(9, {"loss": -1.0})  # is there already
    assert driver.finish()
    assert history(store, driver.run_id) == expected(10)


def test_a_copy_of_a_folder_has_a_run_of_its_own(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def go_on(out: Path, rows: range) -> str:
        with start(out, store) as tracker:
            for step in rows:
                tracker.log_row(step, {"loss": step / 8})
        return tracker.run_id

    one, two, moved = tmp_path / "one", tmp_path / "two", tmp_path / "moved"
    original = go_on(one, range(3))
    shutil.copytree(one, two)
    assert capsys.readouterr().err == ""
    copy = go_on(two, range(3, 5))
    told = f"warning: {two} is a copy of {one}: it begins an MLflow run of its own\n"
    assert capsys.readouterr().err == told and copy != original
    assert MlflowClient(tracking_uri=store).get_run(copy).data.tags["copy.of"] == original
    one.rename(moved)
    assert go_on(one, range(1)) not in (original, copy)  # begun anew where that was
    assert go_on(moved, range(3, 4)) == original
    assert go_on(two, range(5, 6)) == copy
    assert capsys.readouterr().err == ""
    assert history(store, original) == expected(4)
    assert history(store, copy) == expected(6)


def test_attach_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mlflow_run\.json names no run"):
        Tracker.attach(tmp_path)


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_the_run_says_how_it_ended(
    error: type[BaseException], status: str, tmp_path: Path, store: str
) -> None:
    with pytest.raises(error), start(tmp_path, store) as tracker:
        raise error
    assert MlflowClient(tracking_uri=store).get_run(tracker.run_id).info.status == status


def test_a_failed_run_says_why_until_it_comes_to_its_end(tmp_path: Path, store: str) -> None:
    client = MlflowClient(tracking_uri=store)

    def told(error: BaseException | None) -> str | None:
        with contextlib.suppress(ValueError, KeyboardInterrupt), start(tmp_path, store) as tracker:
            if error:
                raise error
        return client.get_run(tracker.run_id).data.tags.get("error")

    assert told(KeyboardInterrupt()) is None
    assert told(ValueError("60 bad pictures at http://me:pw@host")) == (
        "ValueError: 60 bad pictures at http://***@host"
    )
    assert str(told(KeyboardInterrupt())).startswith("ValueError: 60")
    assert told(None) == ""


def test_pictures_of_an_earlier_start_are_dropped(tmp_path: Path, store: str) -> None:
    sheet = Image.new("RGB", (4, 4))
    with start(tmp_path / "out", store) as tracker:
        first = tracker.log_pictures([("a", sheet), ("b", sheet)])
        (other := tmp_path / "out/figures/c.csv").write_text("")
        assert tracker.log_pictures([("a", sheet)]) == first[:1]
    assert set(other.parent.iterdir()) == {first[0], other}


def test_a_whole_summary_leaves_nothing_of_one_before(tmp_path: Path, store: str) -> None:
    for told in ({"eval/a": 0.5, "eval/b": 0.5}, {"eval/b": 0.25}):
        with start(tmp_path / "out", store) as tracker:
            tracker.log_summary(told, whole=True)
    found = MlflowClient(tracking_uri=store).get_run(tracker.run_id).data.metrics
    assert math.isnan(found["eval/a"]) and found["eval/b"] == 0.25


PICKLED = """
import contextlib, sys
from pathlib import Path
from ray import cloudpickle
from hw2.distributed import train
from hw2.settings.digits import TrainDdpmConfig
from hw2.runlog.run_file import RUN_FILE
from hw2.runlog.tracker import Tracker

def look(worker, *rest):
    sys.exit(f"pickled password: {b'hunter2' in cloudpickle.dumps(worker)}")

train.connected, train._trainer = contextlib.nullcontext, look
out = Path(sys.argv[1])
(out / RUN_FILE).write_text("the run, without its address's password")
tracker = Tracker(out, "0123", "http://user:hunter2@127.0.0.1:1", owner=True)
settings = {"data": {"root": out}, "train": {"num_steps": 1}, "scaling": {"num_workers": 1}}
config = TrainDdpmConfig.model_validate(settings | {"out": out})
train.run_training(lambda: None, config, "test", tracker)
"""


def test_what_goes_to_the_workers_holds_no_password(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PICKLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "pickled password: False" in done.stderr
