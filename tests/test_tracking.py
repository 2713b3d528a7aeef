"""One run a job in real MLflow stores: sqlite, and a server that is killed while rows come in."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from hw2 import tracking
from hw2.errors import ConfigError
from hw2.tracking import Tracker, environment_tags, mask, resolve_uri, ui_command

CONFIG = {"train": {"lr": 2e-3, "betas": [0.9, 0.99]}, "data": {}, "note": "x" * 700, "ema": None}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sqlite store with its tables, shared because making them takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    for name in ("mlflow.db.new", "mlflow.db.new-journal"):  # left by a kill in the first start
        (folder / name).write_bytes(b"half a database" * 100)
    uri = f"sqlite:///{folder}/mlflow.db"
    tracking.prepare_store(uri, "digits")
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
    return uri


def start(out: Path, uri: str, **more: Any) -> Tracker:
    arguments = {"experiment": "digits", "run_name": "test", "config": CONFIG} | more
    return Tracker.start(out, tracking_uri=uri, **arguments)


def history(uri: str, run_id: str, key: str = "loss") -> list[tuple[int, float]]:
    metrics = MlflowClient(tracking_uri=uri).get_metric_history(run_id, key)
    return sorted((metric.step, metric.value) for metric in metrics)


def expected(steps: int) -> list[tuple[int, float]]:
    return [(step, step / 8) for step in range(steps)]


def test_all_of_a_run_is_in_the_store(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file, sheet = tmp_path / "config.yaml", tmp_path / "sheet.png"
    config_file.write_text("train: {lr: 0.002}\n")
    sheet.write_bytes(b"picture")
    parent = start(tmp_path / "parent", store)
    with start(
        tmp_path / "out",
        store,
        config_file=config_file,
        tags={"dataset.sha256": "abc"},
        parent_run_id=parent.run_id,
    ) as tracker:
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
    assert all(math.isnan(value) for _, value in history(store, tracker.run_id, "lr"))
    files = {f.path for folder in (None, "figures", "tables")
             for f in client.list_artifacts(tracker.run_id, folder) if not f.is_dir}  # fmt: skip
    assert files == {"config.yaml", "figures/sheet.png", "tables/scores.csv", "tables/scores.json"}
    assert (
        tmp_path / "out/tables/scores.csv"
    ).read_text() == "digit,accuracy,fid\n0,0.5,\n1,,2.0\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # load_table asks the default store
    table = client.load_table(run.info.experiment_id, "tables/scores.json", [tracker.run_id])
    assert table["digit"].tolist() == [0, 1]


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
from hw2.tracking import Tracker
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
    deadline = time.monotonic() + 60
    while not (tmp_path / "journal.delivered").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.2)  # until it is sending rows
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


def test_attach_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mlflow_run\.json names no run"):
        Tracker.attach(tmp_path)


def test_an_exception_marks_the_run_failed(tmp_path: Path, store: str) -> None:
    with pytest.raises(RuntimeError), start(tmp_path, store) as tracker:
        raise RuntimeError("training broke")
    assert MlflowClient(tracking_uri=store).get_run(tracker.run_id).info.status == "FAILED"


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


def test_restores_a_deleted_experiment(tmp_path: Path, store: str) -> None:
    client = MlflowClient(tracking_uri=store)
    client.delete_experiment(tracking.prepare_store(store, "deleted"))
    assert start(tmp_path, store, experiment="deleted").finish()


# --- addresses ----------------------------------------------------------------------------------


def test_default_store_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert (
        ui_command() == f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db --port 5000"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pw@tracking.example:5000")
    assert resolve_uri() == "http://me:pw@tracking.example:5000"
    assert ui_command() == "http://tracking.example:5000"
    assert ui_command("postgresql://me:pw@db/x") == (
        'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI" --port 5000'
    )


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "sqlite://", "databricks"])
def test_stores_that_double_rows_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI=") as caught:
        resolve_uri(uri)
    assert uri in str(caught.value) and "sqlite:///mlflow.db" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:pw@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg://u:p%40w@db/x", "postgresql+psycopg://***@db/x"),
        ("https://token@host", "https://***@host"),
        ("postgresql://db/x?user=u&password=pw&a=b", "postgresql://db/x?user=u&password=***&a=b"),
        ("API request to http://u:p@host/api failed", "API request to http://***@host/api failed"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 100)
    with pytest.raises(ConfigError, match=r"mlflow\.db .*move it away"):
        start(tmp_path / "out", f"sqlite:///{tmp_path}/mlflow.db")


def test_environment_tags_name_versions_and_commit() -> None:
    tags = environment_tags()
    assert tags["version.python"] == sys.version.split()[0]
    assert tags["version.mlflow"].startswith("3.")
    assert len(tags.get("mlflow.source.git.commit", "0" * 40)) == 40
    assert socket.gethostname() not in tags.values()


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    check = "import sys, hw2.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


# --- a server -----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A real tracking server on loopback that can be killed and started again."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store, self.port = folder, store, free_port()
        self.uri = f"http://user:hunter2@127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1",
             "--port", str(self.port), "--backend-store-uri", self.store,
             "--artifacts-destination", str(self.folder / "artifacts")],
            cwd=self.folder, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2)
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the server did not come up")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), store)
    server.start()
    server.wait()
    yield server
    server.kill()


@pytest.mark.slow
def test_server_killed_in_mid_run(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(tmp_path, server.uri, experiment="served")
    (tmp_path / "sheet.png").write_bytes(b"picture")
    waits, step = list[float](), 0

    def train(steps: int) -> None:
        nonlocal step
        for _ in range(steps):
            begin = time.perf_counter()
            tracker.log_row(step, {"loss": step / 8, "nan": math.nan})
            waits.append(time.perf_counter() - begin)
            step += 1
            time.sleep(0.001)

    train(300)
    assert tracker.flush()
    train(300)  # under way when the server dies
    server.kill()
    train(300)
    tracker.log_figure(tmp_path / "sheet.png")
    assert not tracker.flush(1.5)
    server.start()
    train(300)
    server.wait()
    assert tracker.finish()

    assert sorted(waits)[-4] < 0.1  # a full garbage collection of MLflow's objects takes 0.15 s
    assert history(server.uri, tracker.run_id) == expected(1200)
    assert len(history(server.uri, tracker.run_id, "nan")) == 1200
    client = MlflowClient(tracking_uri=server.uri)
    assert [file.path for file in client.list_artifacts(tracker.run_id, "figures")] == [
        "figures/sheet.png"
    ]
    messages = [record.message for record in caplog.records]
    assert [message.split(" (")[0][:16] for message in messages] == [
        "tracking is away",
        "tracking is back",
    ]
    written = "".join(path.read_text() for path in tmp_path.glob("*.j*"))
    assert "hunter2" not in caplog.text + written
    assert json.loads((tmp_path / "mlflow_run.json").read_text())["tracking_uri"] == (
        f"http://***@127.0.0.1:{server.port}"
    )


@pytest.mark.slow
def test_rows_sent_twice_through_a_server_are_there_once(tmp_path: Path, server: Server) -> None:
    first = start(tmp_path, server.uri, experiment="served")
    for step in range(20):
        first.log_row(step, {"loss": step / 8, "nan": math.nan})
    assert first.flush()
    first.close()
    (tmp_path / "journal.delivered").unlink()
    second = start(tmp_path, server.uri, experiment="served")
    assert second.finish() and second.run_id == first.run_id
    assert history(server.uri, first.run_id) == expected(20)
    assert len(history(server.uri, first.run_id, "nan")) == 20


@pytest.mark.slow
def test_worker_with_credentials_leaves_delivery_to_the_driver(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    driver = start(tmp_path, server.uri, experiment="served")
    worker = Tracker.attach(tmp_path)
    assert worker.tracking_uri is None
    worker.log_row(0, {"loss": 0.0})
    worker.close()
    assert driver.finish() and history(server.uri, driver.run_id) == expected(1)


def test_no_server_at_the_start(tmp_path: Path) -> None:
    uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    begin = time.monotonic()
    with pytest.raises(ConfigError, match="unset MLFLOW_TRACKING_URI") as caught:
        start(tmp_path, uri, timeout=1.0)
    assert time.monotonic() - begin < 3
    assert "hunter2" not in str(caught.value) and "***@127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_accepts_but_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"within 1 s \(no answer\)"):
            start(tmp_path, uri, timeout=1.0)
