"""python -m tests.distributed.stranger MODE HOST: what a job says of a head.

The head is Ray's own GCS server with RAY_AUTH_MODE=MODE at HOST. Nobody else can reach it: this
runs in a network of its own, which has a loopback interface with a second address, and no other.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import ray

from hw2.distributed.exposure import warn_if_open
from tests.waiting import wait_for

ADDRESS, PORT = "10.99.0.1", 6379
SERVER = Path(ray.__file__).parent / "core" / "src" / "ray" / "gcs" / "gcs_server"


def listens(host: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((host, PORT)).close()
        return True
    return False


def main(mode: str, host: str) -> None:
    """The warnings go to stderr."""
    for words in ("link set lo up", f"addr add {ADDRESS}/32 dev lo", "route add default dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    with tempfile.TemporaryDirectory() as logs:
        own = {"log_dir": logs, "stdout_filepath": f"{logs}/out", "stderr_filepath": f"{logs}/err"}
        own |= {"config_list": "e30=", "session-name": "test", "ray-commit": ray.__commit__}
        own |= {"gcs_server_port": PORT, "metrics-agent-port": 0, "node-ip-address": host}
        server = subprocess.Popen(
            [SERVER, *(f"--{key}={value}" for key, value in own.items())],
            env=os.environ | {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": 32 * "ab"},
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: listens(host), 60)
            for known_as in (ADDRESS, "127.0.0.1"):
                warn_if_open(f"{known_as}:{PORT}")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
