"""The tracking store that is a file: what may be one, and how it is made."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from hw2.errors import ConfigError

WAY_OUT = "move it away, or set MLFLOW_TRACKING_URI=sqlite:////another/file.db"


def refuse_other_file(path: Path) -> None:
    """Raise ConfigError for what is there and no database.

    A device, a pipe or a folder would be replaced or waited for.
    """
    if os.path.lexists(path) and not path.is_file():
        raise ConfigError(f"the tracking store {path} is not a regular file: {WAY_OUT}")
    try:
        with path.open("rb") as file:
            sound = file.read(16) in (b"", b"SQLite format 3\0")
    except OSError:
        return  # not there yet, or told with its reason when it is written
    if not sound:
        said = "is no database (another file has its name)"
        raise ConfigError(f"the tracking store {path} {said}: {WAY_OUT}")


def prepare_file(path: Path, make_tables: Callable[[Path], None]) -> None:
    """See to it that `path` is a sound store that can be written; a missing one is made.

    `make_tables` writes them to another path, which is moved in whole: a race or a kill would leave
    half for ever.

    Raises:
        ConfigError: it is no database, or cannot be written.
    """
    refuse_other_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or not path.stat().st_size:
                for stale in path.parent.glob(f"{path.name}.new*"):
                    stale.unlink()
                fresh = path.with_name(f"{path.name}.new")
                make_tables(fresh)
                fresh.replace(path)
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            database.execute("BEGIN IMMEDIATE")  # fails unless it is sound and writable
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"cannot write the tracking store {path} ({error}): {WAY_OUT}") from error
