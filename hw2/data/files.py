"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A passing name beside `path` to write to; renamed to `path` if the block succeeds."""
    passing = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield passing
        os.replace(passing, path)
    finally:
        passing.unlink(missing_ok=True)
