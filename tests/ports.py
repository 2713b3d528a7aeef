"""Ports for the servers that tests start.

Above those of Ray's workers (10002 to 19999), and below those that the kernel gives to whoever asks
for any: else a connection of somebody's takes one between our look and the server's start.
"""

import contextlib
import secrets
import socket

FIRST, COUNT = 20000, 12768


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens at now."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe, port = held.enter_context(socket.socket()), FIRST + secrets.randbelow(COUNT)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                ports.append(port)
        return ports


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
