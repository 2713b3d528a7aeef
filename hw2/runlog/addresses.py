"""The address of the tracking store: which one it is, and how to show it without credentials."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import quote, unquote

from hw2.disclosure import mask
from hw2.errors import ConfigError

STORES = re.compile(r"sqlite:///.|https?://")
DATABASES = re.compile(r"(postgres(ql)?|mysql|mariadb|mssql)(\+\w+)?://")


def resolve_uri(uri: str | None = None) -> str:
    """The tracking store: `uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the working folder.

    A relative sqlite path becomes absolute, so that workers in other folders mean the same file.

    Raises:
        ConfigError: not a store that keeps a row once (sqlite, http), or a bare database: whoever
            makes an experiment there puts its files into a folder of their own.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if database := DATABASES.match(uri):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={database[0]}... is a database, which keeps no files of runs: "
            "start `make mlflow-server` (DATABASE=... for a PostgreSQL of yours), and set "
            "MLFLOW_TRACKING_URI=http://HOST:5000 (docs/mlflow.md)"
        )
    if not STORES.match(uri):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={mask(uri)} is not a store that keeps each row once: "
            "use sqlite:///mlflow.db or http(s)://..."
        )
    file, (_, mark, options) = sqlite_file(uri), uri.partition("?")
    return f"{sqlite_uri(file)}{mark}{options}" if file else uri


def sqlite_uri(path: Path) -> str:
    """The address of the store in a file: what SQLAlchemy reads as signs of it is written as %."""
    return f"sqlite:///{str(path.absolute()).replace('%', '%25').replace('?', '%3F')}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a store; None if it is a server."""
    path = uri.removeprefix("sqlite:///")
    return None if path == uri else Path(unquote(path.partition("?")[0]))


def shareable(uri: str | None) -> str | None:
    """`uri` if other processes may have it; None if it holds a password, which they may not."""
    return uri if uri and mask(uri) == uri else None


def ui_command(uri: str | None = None) -> str:
    """What opens the MLflow UI: a command, or the address of the server."""
    uri = resolve_uri(uri)
    if uri.startswith("http"):
        return re.sub(r"://\S*@", "://", uri)
    # Under `make` the environment is not activated, and its programs are not on the PATH.
    program = "mlflow" if shutil.which("mlflow") else os.path.join(sys.prefix, "bin", "mlflow")
    return shlex.join([program, "ui", "--backend-store-uri", uri, "--port", "5000"])


def run_page(server: str, run_id: str) -> str:
    """The address of a run in the UI at `server`."""
    return f"{server.rstrip('/')}/#/runs/{quote(run_id)}"
