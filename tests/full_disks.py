"""A small disk that can be full: a tmpfs, for which the tests must be root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """An empty disk at `path`, for the block."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def grow(path: Path, megabytes: int) -> None:
    """Make room on the disk at `path`."""
    size = f"remount,size={megabytes}m"
    subprocess.run(["mount", "-o", size, str(path)], check=True)
