"""What lies in a folder of pictures, and how messages name it."""

import os
from collections.abc import Sequence
from pathlib import Path

from hw2.data.images import SUFFIXES
from hw2.data.listing.store import Entry, Store
from hw2.disclosure import warn

SHOWN = 5  # names that a message lists


def listed(folder: Path) -> list[Entry]:
    """What lies in a folder, sorted. Of one that cannot be listed nobody knows what is missing."""
    return sorted(Store(os.path.abspath(folder)).scan())


def names_of(entries: Sequence[Entry]) -> str:
    """The first names of a folder, for a message."""
    names = [f"{entry.name[:80]}{'/' * entry.folder}" for entry in entries[:SHOWN]]
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return (", ".join(names) or "nothing") + more


def warn_of_other_files(folder: Path, learnt: str) -> None:
    """Say which files beside the pictures are of kinds that are not read, as a phone's HEIC.

    `learnt` tells of what the folder's pictures are.
    """
    files = [entry for entry in listed(folder) if not entry.folder]
    if others := [entry for entry in files if not entry.name.lower().endswith(SUFFIXES)]:
        passed = f"passed over: {names_of(others)} (want {', '.join(SUFFIXES)})"
        warn(f"{learnt} of {folder}; {passed}")
