"""The files of a folder OUT as a bucket has them: their names, their stamps, which go first."""

import fcntl
import os
import shutil
from pathlib import Path

from hw2.bucket.storage import Stamp
from hw2.checkpoint import MANIFEST
from hw2.errors import StorageError
from hw2.runlog.journal import JOURNAL

CHECKPOINTS, RAY = "checkpoints/", "ray/"
SETTINGS = ("config.yaml", "inputs.json")
MANIFESTS = 3  # their turn


class OutFiles:
    """What lies in `folder` now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def name(self, path: Path) -> str:
        """What the bucket calls a file of the folder."""
        return str(path.relative_to(self.folder))

    def stamp(self, path: Path) -> Stamp:
        """What tells its content from the next; of a journal, which grows alone, its size does."""
        found = path.stat()
        return Stamp(found.st_size, 0 if path.name == JOURNAL else found.st_mtime_ns)

    def manifests(self) -> set[str]:
        """The names of the checkpoints' manifests."""
        return set(map(self.name, self.folder.glob(f"{CHECKPOINTS}*/{MANIFEST}")))

    def journals(self) -> dict[str, Stamp]:
        """All journals by name, those of trials too."""
        return {self.name(path): self.stamp(path) for path in self.folder.rglob(JOURNAL)}

    def all(self) -> dict[str, Stamp]:
        """All files by name, but hidden and passing ones and Ray's own."""
        found = {}
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if name[0] != "."]
            for file in files:
                path = Path(folder, file)
                name = self.name(path)
                if file[0] == "." or path.suffix in (".lock", ".tmp") or name.startswith(RAY):
                    continue
                try:
                    found[name] = self.stamp(path)
                except FileNotFoundError:
                    continue
        return found


def turn(name: str) -> int:
    """What goes first: whose results they are; files; what speaks of them; checkpoints' manifests.

    A checkpoint counts from its manifest on, and must find its steps' rows in the journal.
    """
    last = name.rpartition("/")[2]
    if name in SETTINGS:
        return 0
    if name.startswith(CHECKPOINTS) and last == MANIFEST:
        return MANIFESTS
    return 2 if last == JOURNAL else 1


def prolong(path: Path, other: Path) -> None:
    """Add to the journal `path`, which others have open, what `other` has beyond it, if any."""
    with path.open("r+b") as here, other.open("rb") as there:
        fcntl.flock(here, fcntl.LOCK_EX)
        mine = here.read()
        if not mine.startswith(there.read(len(mine))):
            raise StorageError(f"{path} and the bucket's do not begin alike")
        shutil.copyfileobj(there, here)
