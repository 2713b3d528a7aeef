"""Processes that end with this one, whatever ends it."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PR_SET_PDEATHSIG = 1


def _ends_with_parent(number: signal.Signals) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, int(number))


@contextmanager
def running(
    command: list[str], stop: signal.Signals, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` during the block, then send `stop`, and SIGKILL to all of it after 20 s.

    It has a session of its own, so that Ctrl-C reaches this process alone, which stops it in order.
    """
    process = subprocess.Popen(
        command, start_new_session=True, preexec_fn=_ends_with_parent(stop), **options
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
