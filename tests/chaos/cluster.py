"""A Ray cluster of two nodes on this machine, each of which can be lost and come back."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.distributed.node import RAY, Node, environment
from tests.jobs.command import ROOT
from tests.ports import free_port

KEPT_FREE = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
kept = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
print(*ray.get(kept.__ray_call__.remote(lambda actor: list(actor._ongoing_reqs))))
"""
NODES = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
here = ray.get_runtime_context().get_node_id()
print(*(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != here))
"""


class Cluster:
    """A head with `cpus` logical CPUs, and one further node with one; behind a token.

    `tells`: jobs show what their workers say, each line twice, since all nodes have one address.
    """

    def __init__(self, cpus: int = 1, tells: bool = False) -> None:
        self._tells = "true" if tells else "false"
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
                 f"--include-log-monitor={self._tells}")  # fmt: skip
        node = Node(self.folder / f"node-{own.name}", mine, *words, *quiet)
        self._nodes.append(node)
        try:
            node.wait()
        except AssertionError:
            self.close()
            raise
        return node

    def draining(self, seconds: int) -> list[str]:
        """A command, without its `--node-id`, by which a node is told that it is to go."""
        words = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
                 "--deadline-remaining-seconds", str(seconds))  # fmt: skip
        return [str(RAY), "drain-node", "--address", self.address, *words]

    def drain(self, seconds: int) -> None:
        """Tell the further node so, the newest of them."""
        [*_, node] = self._ask(NODES).split()
        words = [*self.draining(seconds), "--node-id", node]
        subprocess.run(words, env=os.environ | self.variables, check=True)

    def kept_free(self) -> list[str]:
        """For whom Ray keeps room here: trainings, also such as have ended."""
        return self._ask(KEPT_FREE).split()

    def _ask(self, script: str) -> str:
        told = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | self.variables, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return told.stdout

    def close(self) -> None:
        """End all of it."""
        for node in self._nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
