"""Where files may lie: in a folder, below a home folder as ~, or in a bucket."""

import os
import re
from pathlib import Path, PosixPath

_URI = re.compile(r"(s3|gs|gcs):/+(.+)")


def uri_of(place: str | Path) -> str | None:
    """The URI that `place` means, also after pathlib has folded its //; None for a local path."""
    found = _URI.fullmatch(str(place))
    return f"{found[1]}://{found[2]}" if found else None


class _FromHome(PosixPath):
    """A path that was written with ~, and how."""

    written: str


def from_home(path: Path) -> Path:
    """`path` with its ~ expanded; `as_written` gives it back. Raises ValueError for no such user.

    A shell expands that of `--key ~/x`, but neither that of `--key=~/x` nor those in files.
    """
    if not str(path).startswith("~"):
        return path
    full = os.path.expanduser(path)
    if full.startswith("~"):
        raise ValueError(f"no home folder of {path.parts[0]}: give the whole path")
    found = _FromHome(full)
    found.written = str(path)
    return found


def as_written(path: Path) -> str:
    """How a setting is kept: its ~ as it came, since homes differ, and a URI as one."""
    return uri_of(path) or str(getattr(path, "written", path))


def cache_folder() -> Path:
    """Where this project keeps what can be had again; XDG_CACHE_HOME moves it."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "hw2"
