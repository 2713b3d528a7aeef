"""A real Ray cluster: a head with its dashboard and a second raylet, both on this machine."""

import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.distributed.node import Node, environment
from tests.jobs.command import ROOT
from tests.mlflow_server.served import Answer, request
from tests.ports import free_port

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class TwoNodes:
    """Nodes `first` and `second` of one CPU each, with a token; jobs are submitted by REST.

    Each node has the variables of its name in `variables`; its jobs inherit them.
    """

    def __init__(self, folder: Path, variables: Mapping[str, Mapping[str, str]]) -> None:
        self.folder, self.token, self.port = folder, secrets.token_hex(32), free_port()
        self._gcs = f"127.0.0.1:{free_port()}"
        self._nodes: list[Node] = []
        self._variables = variables
        head = ["--head", f"--port={self._gcs.partition(':')[2]}", "--dashboard-host=127.0.0.1",
                f"--dashboard-port={self.port}", "--include-dashboard=true"]  # fmt: skip
        self._start("first", *head)

    def _start(self, name: str, *words: str) -> None:
        own = environment(RAY_AUTH_TOKEN=self.token, PYTHONPATH=str(ROOT), **self._variables[name])
        place = ("--node-ip-address=127.0.0.1", f"--temp-dir={self.folder}")
        what = ("--num-cpus=1", f'--resources={{"{name}": 1}}')
        log = self.folder / f"{name}.log"
        self._nodes.append(Node(log, own, *what, *place, *words))

    def wait(self) -> None:
        """Return when both nodes are there and the dashboard takes jobs."""
        self._until(lambda: self.call("GET", "/api/jobs/").status == 200)
        self._start("second", f"--address={self._gcs}")
        self._until(lambda: len(self._alive()) == 2)

    def _until(self, done: Any) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert all(node.process.poll() is None for node in self._nodes), "a node has ended"
            try:
                if done():
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise TimeoutError(self.folder)

    def _alive(self) -> list[Any]:
        rows = self.call("GET", "/nodes?view=summary").json()["data"]["summary"]
        return [row for row in rows if row["raylet"].get("state") == "ALIVE"]

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> Answer:
        """A request to the dashboard with the cluster's token, or another; "" sends none."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return request(self.port, method, path, body, **headers)

    def submit(self, node: str, folder: Path, *words: object) -> str:
        """Submit `python -m WORDS`, run in `folder` on `node`; returns the submission's id."""
        command = " ".join([sys.executable, "-m", *map(str, words)])
        job = {"entrypoint": f"cd {folder} && exec {command}", "entrypoint_resources": {node: 0.01}}
        answer = self.call("POST", "/api/jobs/", job)
        assert answer.status == 200, answer
        return str(answer.json()["submission_id"])

    def finish(self, job: str) -> tuple[str, str]:
        """Wait for the end of a submitted job; its status and log."""
        deadline = time.monotonic() + 400
        status = ""
        while status not in ENDED and time.monotonic() < deadline:
            time.sleep(0.2)
            status = self.call("GET", f"/api/jobs/{job}").json()["status"]
        return status, self.call("GET", f"/api/jobs/{job}/logs").json()["logs"]

    def stop(self) -> None:
        """End both nodes, the second before the head."""
        for node in reversed(self._nodes):
            node.stop()
