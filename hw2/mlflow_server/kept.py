"""Passwords that nobody types: from the environment, else a file that its owner alone can read."""

import os
import secrets
from pathlib import Path

from hw2.errors import ConfigError


def kept_secret(path: Path, variable: str) -> str:
    """The secret in the environment's `variable`, else in the file `path`, made if it is absent.

    Raises ConfigError if others can read the file, or it is empty.
    """
    if told := os.environ.get(variable):
        return told
    write_private(path, f"{secrets.token_urlsafe(24)}\n", anew=False)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others: chmod 600 {path}, and change the secret")
    if not (kept := path.read_text().strip()):
        raise ConfigError(f"{path} is empty: write the secret there, or set {variable}")
    return kept


def write_private(path: Path, text: str, anew: bool = True) -> None:
    """Write a file that its owner alone can read; one that is there stays unless `anew`."""
    if path.exists() and not anew:
        return
    draft = path.with_name(f".{path.name}.tmp")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
