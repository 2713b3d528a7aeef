"""A network of a test's own: the kernel must let the user have one, and iproute2 be there."""

import subprocess

import pytest


def alone(*words: str) -> list[str]:
    """What goes before a command to run it there as root; `words` are more of unshare's."""
    command = ["unshare", "--map-root-user", "--net", *words]
    try:
        refused = subprocess.run([*command, "ip", "link"], capture_output=True).returncode
    except FileNotFoundError:
        refused = 1
    if refused:
        pytest.skip("no network of one's own here: it takes user namespaces, unshare and iproute2")
    return command
