"""Where files may lie: in a folder, or in a bucket."""

import os
import re
from pathlib import Path

_URI = re.compile(r"(s3|gs|gcs):/+(.+)")


def uri_of(place: str | Path) -> str | None:
    """The URI that `place` means, also after pathlib has folded its //; None for a local path."""
    found = _URI.fullmatch(str(place))
    return f"{found[1]}://{found[2]}" if found else None


def cache_folder() -> Path:
    """Where this project keeps what can be had again; XDG_CACHE_HOME moves it."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "hw2"
