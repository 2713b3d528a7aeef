"""A real head of one's own: `ray start --head --block` with token and dashboard, on free ports."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.distributed.node import RAY, Node, environment
from tests.jobs.command import ROOT
from tests.ports import free_ports

PORTS = ("port", "ray-client-server-port", "dashboard-port")


@dataclass(frozen=True)
class Head:
    """A running head. `environment` is what its users have: the token in a file of theirs."""

    path: Path
    node: Node
    ports: dict[str, int]
    token: str
    environment: dict[str, str] = field(repr=False)

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"

    def ray(self, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """The command `ray WORDS` of a user who has the token, in this repository."""
        done = subprocess.run(
            [RAY, *map(str, words)],
            cwd=ROOT,
            env=self.environment | variables,
            capture_output=True,
            text=True,
        )
        print(done.stdout, done.stderr, file=sys.stderr)  # pytest shows it if the test fails
        return done


@contextlib.contextmanager
def running_head(path: Path, num_cpus: int, **variables: str) -> Iterator[Head]:
    """A head that listens on all interfaces and lets in who has the token; its folder is `path`.

    `path` is short: sockets lie in it. It ends by SIGTERM, with all that it has started.
    """
    token = secrets.token_hex(32)
    (path / "home").mkdir()
    file = path / "home" / "auth_token"
    file.touch(0o600)
    file.write_text(token)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    users = environment(
        HOME=str(path / "home"),
        RAY_TMPDIR=str(path),
        RAY_AUTH_TOKEN_PATH=str(file),
        RAY_ADDRESS=f"http://127.0.0.1:{ports['dashboard-port']}",
        RAY_JOB_STOP_WAIT_TIME_S="30",  # as in cluster.yaml
        **variables,
    )
    options = {"num-cpus": num_cpus, "temp-dir": path, "dashboard-host": "127.0.0.1", **ports}
    words = [f"--{key}={value}" for key, value in options.items()]
    node = Node(path / "head.log", users, "--head", *words)
    try:
        node.wait()
        yield Head(path, node, ports | node.ports, token, users)
    finally:
        node.stop()
