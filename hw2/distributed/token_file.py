"""The file of the clusters' token: who reads it can run code there."""

import os
from pathlib import Path

from hw2.disclosure import warn


def warn_if_shared() -> None:
    """One line on stderr if others on this machine can read the token that Ray sends from here."""
    path = token_file()
    if path is not None and path.stat().st_mode & 0o077:
        warn(
            f"others can read {path}, and who has the token can run code on the cluster: "
            f"chmod 600 {path}, and a new token where others use this machine (make cluster-token "
            "makes it for you alone)"
        )


def token_file() -> Path | None:
    """The file that Ray takes the token from; None if the environment has it, or there is none."""
    if os.environ.get("RAY_AUTH_MODE") != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return None
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path if path.is_file() else None
