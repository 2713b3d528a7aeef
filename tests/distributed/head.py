"""A real head of one's own: `ray start --head --block` with token and dashboard, on free ports."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.jobs.command import ROOT, descendants

PORTS = (
    "port",
    "ray-client-server-port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now, outside of those that Ray gives to its workers."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            ports += [port] * (not 10002 <= port <= 19999)
        return ports


@dataclass(frozen=True)
class Head:
    """A running head. `environment` is what its users have: the token in a file of theirs."""

    path: Path
    process: subprocess.Popen[str]
    ports: dict[str, int]
    token: str
    environment: dict[str, str] = field(repr=False)

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"

    def ray(self, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """The command `ray WORDS` of a user who has the token, in this repository."""
        done = subprocess.run(
            self.words(*words),
            cwd=ROOT,
            env=self.environment | variables,
            capture_output=True,
            text=True,
        )
        print(done.stdout, done.stderr, file=sys.stderr)  # pytest shows it if the test fails
        return done

    @staticmethod
    def words(*words: object) -> list[str]:
        return [str(Path(sys.executable).with_name("ray")), *map(str, words)]


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
    environment = {
        **{k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"},
        "HOME": str(path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_TMPDIR": str(path),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(file),
        "RAY_ADDRESS": f"http://127.0.0.1:{ports['dashboard-port']}",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",  # as in cluster.yaml
        "RAY_worker_niceness": "0",  # 15: whatever else the machine does would come first
        **variables,
    }
    options = {"num-cpus": num_cpus, "object-store-memory": 200 * 2**20, "temp-dir": path}
    options |= {"dashboard-host": "127.0.0.1", **ports}
    words = [f"--{key}={value}" for key, value in options.items()]
    own = environment | {"PYTHONUNBUFFERED": "1"}  # it is asked in its log whether it is ready
    del own["RAY_ADDRESS"]
    with (path / "head.log").open("w") as log:
        process = subprocess.Popen(
            Head.words("start", "--head", "--block", "--disable-usage-stats", *words),
            env=own,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    head = Head(path, process, ports, token, environment)
    try:
        said = path / "head.log"
        wait_for(lambda: "runtime started" in said.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, said.read_text()
        yield head
    finally:
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for pid in (process.pid, *family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Return when `condition()` holds; an AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
