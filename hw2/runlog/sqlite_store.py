"""The tracking store that is a file: what may be one, and how it is made."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from hw2.errors import MAKE_ROOM, ConfigError, StorageError, wants_room

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


def lacks_room(error: BaseException | None) -> bool:
    """Whether a full disk is behind it: libraries wrap what SQLite says in errors of their own."""
    while error is not None:
        if wants_room(error) or "disk is full" in str(error):
            return True
        error = error.__cause__
    return False


def full(store: object) -> StorageError:
    """What is told of a store whose disk is full."""
    said = "is on a disk that is full: " + MAKE_ROOM
    return StorageError(f"the tracking store {store} {said}")


def prepare_file(path: Path, make_tables: Callable[[Path], None]) -> None:
    """See to it that `path` is a sound store that can be written; a missing one is made.

    `make_tables` writes them to another path, which is moved in whole: a race or a kill would leave
    half for ever.

    Raises:
        ConfigError: it is no database, or cannot be written.
        StorageError: the disk is full; of tables begun nothing stays.
    """
    refuse_other_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or not path.stat().st_size:
                _remove_begun(path)
                fresh = path.with_name(f"{path.name}.new")
                try:
                    make_tables(fresh)
                    fresh.replace(path)
                finally:
                    _remove_begun(path)
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            database.execute("BEGIN IMMEDIATE")  # fails unless it is sound and writable
    except Exception as error:
        if lacks_room(error):
            raise full(path) from error
        if not isinstance(error, OSError | sqlite3.Error):
            raise
        raise ConfigError(f"cannot write the tracking store {path} ({error}): {WAY_OUT}") from error


def _remove_begun(path: Path) -> None:
    for begun in path.parent.glob(f"{path.name}.new*"):
        begun.unlink()
