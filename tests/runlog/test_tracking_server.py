"""A real tracking server: killed while rows come in, and asked twice for the same."""

import json
import math
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file

from hw2.errors import CheckpointError
from hw2.runlog.artifacts import download
from hw2.runlog.tracker import Tracker
from tests.stores import Server, expected, history, start

pytest_plugins = ["tests.store_fixtures"]


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
    assert [message.split(" (")[0] for message in messages if "rows" in message] == [
        "tracking is away",
        f"{tracker.out}: tracking is back: the rows that were kept are on their way",
    ]
    assert len(messages) <= 4  # the same about files
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


@pytest.mark.slow
def test_weights_come_through_the_server(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "out").mkdir()
    weights = tmp_path / "out/final.safetensors"
    save_file({"w": torch.arange(3.0)}, weights)
    with start(tmp_path / "out", server.uri, experiment="served") as tracker:
        tracker.log_file(weights)
    fetched = download(tracker.run_id, "final.safetensors", server.uri)
    torch.testing.assert_close(load_file(fetched)["w"], torch.arange(3.0))
    with pytest.raises(CheckpointError, match=r"there is no run:0123abcd .*\*\*\*@"):
        download("0123abcd", "final.safetensors", server.uri)
    with pytest.raises(CheckpointError, match=r"it has final\.safetensors"):
        download(tracker.run_id, "ema.safetensors", server.uri)
