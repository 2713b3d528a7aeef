"""A Ray cluster of several nodes on this machine, started by hand so that nodes can be killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.training import send
from tests.jobs.command import descendants
from tests.stores import free_port

ALIVE = 0  # rpc::GcsNodeInfo
RAY = Path(sys.executable).with_name("ray")


class Node:
    """One `ray start --block`: a raylet and what belongs to it; the head's has the GCS too."""

    def __init__(self, words: Sequence[str], log: Path, folder: Path) -> None:
        with log.open("w") as told:
            self.process = subprocess.Popen(
                [RAY, "start", "--block", "--disable-usage-stats", "--node-ip-address", "127.0.0.1",
                 "--min-worker-port", "0", "--max-worker-port", "0",
                 "--dashboard-agent-listen-port", "0", "--include-log-monitor", "false", *words],
                env=os.environ | {"RAY_TMPDIR": str(folder)},
                stdout=told,
                stderr=told,
            )  # fmt: skip

    def raylet(self) -> int:
        """The raylet's process."""
        found = [
            p for p, title in descendants(self.process.pid).items() if "/raylet/raylet" in title
        ]
        assert len(found) == 1
        return found[0]

    def kill(self) -> None:
        """As when its machine loses power."""
        family = descendants(self.process.pid)
        for pid in (self.process.pid, *family):
            send(pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    """A head with `cpus` logical CPUs, and further nodes; all on loopback."""

    def __init__(self, cpus: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hw2-", dir="/tmp"))  # short: sockets lie in it
        self.cpus, self.port = cpus, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.variables = {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "disabled"}
        self.nodes: list[Node] = []
        self.start_head()

    def _start(self, *words: str) -> Node:
        own = Path(tempfile.mkdtemp(prefix="n", dir=self.folder))
        words = (*words, "--object-store-memory", str(100 * 2**20))
        self.nodes.append(Node(words, self.folder / f"node-{own.name}", own))
        return self.nodes[-1]

    def start_head(self) -> Node:
        """The head, at the same address each time."""
        self.head = self._start(
            "--head", "--port", str(self.port), "--num-cpus", str(self.cpus),
            "--include-dashboard", "false", "--no-monitor",
        )  # fmt: skip
        self._wait_for_nodes(1)
        return self.head

    def join(self, cpus: int = 1) -> Node:
        """A further node, when the cluster has it."""
        before = self.alive()
        node = self._start("--address", self.address, "--num-cpus", str(cpus))
        self._wait_for_nodes(before + 1)
        return node

    def alive(self) -> int:
        """How many nodes the head believes in; 0 if it does not answer."""
        from ray._raylet import GcsClient

        try:
            found = GcsClient(address=self.address).get_all_node_info(timeout=2).values()
        except Exception:  # of Ray's own kinds, which its C++ side makes
            return 0
        return sum(node.state == ALIVE for node in found)

    def _wait_for_nodes(self, count: int) -> None:
        deadline = time.monotonic() + 150
        while self.alive() < count:
            said = "".join(path.read_text() for path in self.folder.glob("node-*"))
            assert time.monotonic() < deadline, f"{count} nodes did not come up: {said}"
            time.sleep(0.2)

    def close(self) -> None:
        """End all of it."""
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
