"""A Ray cluster of two nodes on this machine, each of which can be lost and come back."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.distributed.node import Node, environment
from tests.jobs.command import ROOT
from tests.ports import free_port

KEPT_FREE = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
kept = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
print(*ray.get(kept.__ray_call__.remote(lambda actor: list(actor._ongoing_reqs))))
"""


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
        }
        self._nodes: list[Node] = []
        self.start_head()
        self.join()

    def start_head(self) -> None:
        """The head, at the same address each time."""
        self.head = self._start(
            "--head", f"--port={self.port}", f"--num-cpus={self.cpus}",
            "--include-dashboard=false", "--no-monitor",
        )  # fmt: skip

    def join(self) -> None:
        """A further node of one logical CPU."""
        self.node = self._start(f"--address={self.address}", "--num-cpus=1")

    def _start(self, *words: object) -> Node:
        own = Path(tempfile.mkdtemp(prefix="n", dir=self.folder))
        mine = environment(**self.variables, RAY_TMPDIR=str(own), PYTHONPATH=str(ROOT))
        quiet = ("--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0",
                 "--include-log-monitor=false")  # fmt: skip
        node = Node(self.folder / f"node-{own.name}", mine, *words, *quiet)
        self._nodes.append(node)
        try:
            node.wait()
        except AssertionError:
            self.close()
            raise
        return node

    def kept_free(self) -> list[str]:
        """For whom Ray keeps room here: trainings, also such as have ended."""
        told = subprocess.run(
            [sys.executable, "-c", KEPT_FREE],
            env=os.environ | self.variables, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return told.stdout.split()

    def close(self) -> None:
        """End all of it."""
        for node in self._nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
