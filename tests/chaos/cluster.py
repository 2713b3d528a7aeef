"""A Ray cluster of several nodes on this machine, started by hand so that nodes can be killed."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.training import send
from tests.jobs.command import ROOT, descendants
from tests.stores import free_port

UP_SECONDS = 150.0
RAY = Path(sys.executable).with_name("ray")


class Node:
    """One `ray start --block`: a raylet and what belongs to it; the head's has the GCS too."""

    def __init__(self, words: Sequence[str], log: Path, variables: dict[str, str]) -> None:
        self.log = log
        with log.open("w") as told:
            self.process = subprocess.Popen(
                [RAY, "start", "--block", "--disable-usage-stats", "--node-ip-address", "127.0.0.1",
                 "--min-worker-port", "0", "--max-worker-port", "0",
                 "--dashboard-agent-listen-port", "0", "--include-log-monitor", "false", *words],
                env=os.environ | variables,
                stdout=told,
                stderr=told,
            )  # fmt: skip

    def wait(self) -> None:
        """Until it belongs to the cluster."""
        deadline = time.monotonic() + UP_SECONDS
        while "Ray runtime started" not in (said := self.log.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.1)

    def raylet(self) -> int:
        """The raylet's process."""
        family = descendants(self.process.pid).items()
        (found,) = (pid for pid, title in family if "/raylet/raylet " in title)
        return found

    def kill(self) -> None:
        """As when its machine loses power."""
        family = descendants(self.process.pid)
        for pid in (self.process.pid, *family):
            send(pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    """A head with `cpus` logical CPUs, and one further node with one; behind a token."""

    def __init__(self, cpus: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hw2-", dir="/tmp"))  # short: sockets lie in it
        self.cpus, self.port = cpus, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.variables = {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # Ray's name for "no further nodes, loopback alone", which all other tests have.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_worker_niceness": "0",  # 15: whatever else the machine does would come first
        }
        self._nodes: list[Node] = []
        self.start_head()
        self.join()

    def start_head(self) -> None:
        """The head, at the same address each time."""
        self.head = self._start(
            "--head", "--port", str(self.port), "--num-cpus", str(self.cpus),
            "--include-dashboard", "false", "--no-monitor",
        )  # fmt: skip

    def join(self) -> None:
        """A further node of one logical CPU."""
        self.node = self._start("--address", self.address, "--num-cpus", "1")

    def _start(self, *words: str) -> Node:
        own = Path(tempfile.mkdtemp(prefix="n", dir=self.folder))
        mine = self.variables | {"RAY_TMPDIR": str(own), "PYTHONPATH": str(ROOT)}
        mine.pop("RAY_ADDRESS")
        words = (*words, "--object-store-memory", str(100 * 2**20))
        self._nodes.append(Node(words, self.folder / f"node-{own.name}", mine))
        try:
            self._nodes[-1].wait()
        except AssertionError:
            self.close()
            raise
        return self._nodes[-1]

    def close(self) -> None:
        """End all of it."""
        for node in self._nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
