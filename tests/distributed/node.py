"""A node of a real Ray cluster on this machine, started as users start one: it can be killed.

All clusters of the tests are made of it: those of head.py, ../mlflow_server/two_nodes.py and
../chaos/cluster.py.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.jobs.command import descendants, send
from tests.ports import free_ports
from tests.waiting import wait_for

RAY = Path(sys.executable).with_name("ray")
AGENT_PORTS = (
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
UP_SECONDS = 150.0


def environment(**variables: str) -> dict[str, str]:
    """What a node of several has that asks for a token; `variables` tell which."""
    # By this name the tests' own Ray is alone, on loopback.
    mine = {k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    mine |= {"PATH": f"{RAY.parent}:{mine['PATH']}", "RAY_AUTH_MODE": "token"}
    # Niceness 15 otherwise: whatever else the machine does would come before the workers.
    return mine | {"RAY_worker_niceness": "0"} | variables


class Node:
    """`ray start --block WORDS`: a raylet and what belongs to it; a head's has the GCS too.

    `before` is put in front of the command. What it says goes to the file `log`.
    """

    def __init__(
        self, log: Path, environment: Mapping[str, str], *words: object, before: Sequence[str] = ()
    ) -> None:
        self.log, self.ports = log, dict(zip(AGENT_PORTS, free_ports(4), strict=True))
        words = (*words, *(f"--{name}={port}" for name, port in self.ports.items()))
        command = [*before, str(RAY), "start", "--block", "--disable-usage-stats",
                   "--object-store-memory=100000000", *map(str, words)]  # fmt: skip
        own = {**environment, "PYTHONUNBUFFERED": "1"}
        own.pop("RAY_ADDRESS", None)
        with log.open("w") as told:
            self.process = subprocess.Popen(command, env=own, stdout=told, stderr=told)

    def wait(self) -> None:
        """Until it belongs to the cluster; an AssertionError if it does not come up."""
        wait_for(
            lambda: "runtime started" in self.log.read_text() or self.process.poll() is not None,
            UP_SECONDS,
        )
        assert self.process.poll() is None, self.log.read_text()

    def raylet(self) -> int:
        """The raylet's process."""
        family = descendants(self.process.pid)
        found = [pid for pid, title in family.items() if "/raylet/raylet " in title]
        assert len(found) == 1, family
        return found[0]

    def stop(self) -> None:
        """As `ray stop` does; what is left after 5 s is killed."""
        family = descendants(self.process.pid)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._kill(family)

    def kill(self) -> None:
        """As when its machine loses power."""
        self._kill(descendants(self.process.pid))

    def _kill(self, family: Mapping[int, str]) -> None:
        for pid in (self.process.pid, *family):
            send(pid, signal.SIGKILL)
        self.process.wait()
