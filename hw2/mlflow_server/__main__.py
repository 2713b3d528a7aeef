"""One MLflow tracking server for all nodes, with accounts; files go through it. docs/mlflow.md

python -m hw2.mlflow_server --folder mlflow-server
"""

import contextlib
import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from hw2.errors import ConfigError
from hw2.job import run_job
from hw2.mlflow_server.children import running
from hw2.mlflow_server.database import Database, opened
from hw2.mlflow_server.kept import kept_secret, write_private
from hw2.settings.mlflow_server import MlflowServerConfig

ACCOUNTS = """\
[mlflow]
default_permission = {permission}
database_uri = {uri}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = {seconds}
"""
# Checking a password takes most of a request's time. What was checked holds so long; a process that
# changes an account forgets it at once, the others after that time.
REMEMBERED_SECONDS = 30


def main(config: MlflowServerConfig) -> None:
    """Serve until told to stop; then stop the server, and after it the database."""
    folder = config.folder.absolute()
    words = command(config, folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: to be told to stop
    with contextlib.suppress(KeyboardInterrupt), claimed(folder):
        refuse_taken(config)
        with opened(config.database, folder) as database:
            given = {"env": environment(config, folder, database), "cwd": folder}
            with running(words, signal.SIGTERM, **given) as server:
                wait_until_up(config, server)
                database.add_rule()
                tell(config, folder)
                raise ConfigError(wait_for_end(server, database, folder))


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, made if it is absent, for one server at a time."""
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            # Root's PostgreSQL goes through as another user; all within is closed.
            folder.chmod(0o711)
        lock = (folder / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"another server runs in {folder}: stop it, or choose --folder") from None
    except OSError as error:
        raise ConfigError(f"cannot use folder={folder} ({error.strerror}): use another") from None
    with lock:
        yield


def refuse_taken(config: MlflowServerConfig, patience: float = 5.0) -> None:
    """Raise ConfigError if there is no such address here, or the port stays taken.

    The workers of a server that was killed let go of it a second or two after.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
            socket.create_server((config.host, config.port), family=family).close()
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConfigError(
                    f"cannot listen at host={config.host} port={config.port} ({error.strerror}): "
                    "choose another --port, or an address of this machine"
                ) from None
        time.sleep(0.2)


def environment(config: MlflowServerConfig, folder: Path, database: Database) -> dict[str, str]:
    """The server's variables: what a user has set for clients, or to weaken it, does not count."""
    accounts = folder / "accounts.ini"
    escaped = database.accounts_uri.replace("%", "%%")
    write_private(
        accounts,
        ACCOUNTS.format(
            permission=config.default_permission, uri=escaped, seconds=REMEMBERED_SECONDS
        ),
    )
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MLFLOW_") or name.startswith("MLFLOW_S3_")
    }
    password, secret = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
    (folder / "artifacts").mkdir(exist_ok=True, mode=0o700)
    return inherited | {
        password: kept_secret(folder / "admin_password", password),
        secret: kept_secret(folder / "secret_key", secret),
        "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
        "MLFLOW_BACKEND_STORE_URI": database.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of language-model judges
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        **database.variables,
    }


def command(config: MlflowServerConfig, folder: Path) -> list[str]:
    """MLflow's own command; nothing secret is in it."""
    return [
        sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth",
        "--host", config.host, "--port", str(config.port), "--workers", str(config.workers),
        "--artifacts-destination", artifacts_place(config, folder),
        "--allowed-hosts", ",".join(config.host_headers),
        "--cors-allowed-origins", ",".join(config.origins),
        "--uvicorn-opts", "--no-access-log",
    ]  # fmt: skip


def artifacts_place(config: MlflowServerConfig, folder: Path) -> str:
    """Where files of runs go: a URI, or a path seen from where this was started, as `folder` is.

    Raises ConfigError if files are where an older version, which saw it from `folder`, put them.
    """
    given = os.path.expanduser(config.artifacts or folder / "artifacts")
    if re.match(r"\w+:/", given):
        return given
    place, within = Path(given).absolute(), folder / given
    if within != place and within.is_dir() and any(within.iterdir()):
        raise ConfigError(
            f"artifacts={config.artifacts}: files of runs are in {within}: give --artifacts "
            f"{within}, or move them to {place}"
        )
    return str(place)


def in_address(host: str) -> str:
    """`host` as a URL has it: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def wait_until_up(config: MlflowServerConfig, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers; raise ConfigError if it ends, or takes minutes."""
    host = in_address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            direct.open(f"http://{host}:{config.port}/health", timeout=5).close()
            return
        time.sleep(0.1)
    raise ConfigError("the server did not start: MLflow's reason is above")


def wait_for_end(server: subprocess.Popen[bytes], database: Database, folder: Path) -> str:
    """What has ended of itself, the server or its own PostgreSQL, without which it only refuses."""
    while server.poll() is None:
        if database.process and (code := database.process.poll()) is not None:
            why = f"its PostgreSQL ended with code {code}: {folder}/postgres.log says why"
            return f"{why}; the same command starts both again"
        time.sleep(0.5)
    return f"the server ended with code {server.returncode}: see above"


def tell(config: MlflowServerConfig, folder: Path) -> None:
    """Say where the server is and where its password lies."""
    names = ", ".join(config.allowed_hosts) or "this machine"
    told = os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD")
    place = "as the first start was told" if told else f"in {folder}/admin_password"
    print(
        f"MLflow: http://{in_address(config.host)}:{config.port} for {names}; "
        f"account admin, password {place}"
    )
    if not config.is_loopback:
        print("Passwords and pictures travel openly: put TLS in front (docs/mlflow.md)")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(run_job(MlflowServerConfig, main, doc=__doc__))
