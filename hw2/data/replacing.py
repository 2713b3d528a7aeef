"""A folder that appears whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from hw2.data.files import as_umask


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """The path at which the block makes a folder, which then takes the place of `folder`.

    What was there stays, or comes back at the next call, if the block or the process ends early.
    """
    part, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    _settle(folder, part, old)  # an earlier call may have been killed
    try:
        yield part
        as_umask(part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        _settle(folder, part, old)


def _settle(folder: Path, part: Path, old: Path) -> None:
    """Put the old folder back where no new one took its place, and remove what is left over."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
