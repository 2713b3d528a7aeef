"""Runs in real MLflow stores, what a store holds of them, and a server that can be killed."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from hw2.runlog.tracker import Tracker
from tests.ports import free_port

CONFIG = {"train": {"lr": 2e-3, "betas": [0.9, 0.99]}, "data": {}, "note": "x" * 700, "ema": None}


def start(out: Path, uri: str, **more: Any) -> Tracker:
    arguments = {"experiment": "digits", "run_name": "test", "config": CONFIG} | more
    return Tracker.start(out, tracking_uri=uri, **arguments)


def history(uri: str, run_id: str, key: str = "loss") -> list[tuple[int, float]]:
    metrics = MlflowClient(tracking_uri=uri).get_metric_history(run_id, key)
    return sorted((metric.step, metric.value) for metric in metrics)


def expected(steps: int) -> list[tuple[int, float]]:
    return [(step, step / 8) for step in range(steps)]


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
        for _ in range(1800):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2)
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the server did not come up")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
