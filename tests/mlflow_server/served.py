"""The tracking server as `make mlflow-server` starts it, and plain requests to it."""

import base64
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.ports import free_port


@dataclass(frozen=True)
class Answer:
    """What an HTTP server says."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(port: int, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """One request, its path sent as it is; a body that is no text goes as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = b""
    if body is not None:
        sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {**headers, "Content-Length": str(len(sent))}.items():
        connection.putheader(name, value)
    connection.endheaders(sent)
    answer = connection.getresponse()
    return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


class Served:
    """`python -m hw2.mlflow_server` with a folder of its own, and two accounts beside admin."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder / "log.txt"
        self.accounts = {"amy": "amys-own-password", "bob": "bobs-own-password"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hw2.mlflow_server", "--folder", str(folder / "server"),
                 "--port", str(self.port), "--workers", "1", *words],
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip

    def wait(self, new: bool = True) -> None:
        """Return when it has said where it is; the accounts are made then, if it is `new`."""
        assert self.process.stdout is not None
        self.said = ""
        while not self.said.startswith("MLflow: "):
            self.said = self.process.stdout.readline()
            assert self.said, self.log.read_text()
        password = (self.folder / "server/admin_password").read_text().strip()
        self.secrets = [*self.accounts.values(), password]
        self.accounts["admin"] = password
        for name in ("amy", "bob") if new else ():
            account = {"username": name, "password": self.accounts[name]}
            assert self.call("POST", "/api/2.0/mlflow/users/create", account).status == 200

    def call(
        self, method: str, path: str, body: object = None, user: str | None = "admin", **more: str
    ) -> Answer:
        """A request as `user`; None: without an account."""
        if user:
            pair = base64.b64encode(f"{user}:{self.accounts[user]}".encode()).decode()
            more = {"Authorization": f"Basic {pair}"} | more
        return request(self.port, method, path, body, **more)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client, as admin."""
        pair = f"admin:{self.accounts['admin']}"
        return MlflowClient(tracking_uri=self.address.replace("://", f"://{pair}@"))

    def as_user(self, name: str) -> dict[str, str]:
        """The variables by which a job finds the server and says who it is."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": self.accounts[name],
        }

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate()
        return self.process.returncode
