"""A PostgreSQL of our own in a folder, for those who have no database server.

It listens at a socket in the folder alone, where the kernel says who connects: no password.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hw2.errors import ConfigError
from hw2.mlflow_server.children import running
from hw2.settings.mlflow_server import ADDRESS

DEBIAN = Path("/usr/lib/postgresql")
ROLE = DATABASE = "mlflow"
SOCKET_LENGTH = 107 - len("/.s.PGSQL.5432")  # of Linux


@contextmanager
def own_postgres(
    folder: Path, log: Path
) -> Iterator[tuple[dict[str, str], subprocess.Popen[bytes]]]:
    """Run the cluster in `folder`, made if it is absent, during the block.

    Returns: the variables that lead libpq to it, and its process.
    Raises: ConfigError: no PostgreSQL here, or it cannot run in `folder`.
    """
    socket = folder / "socket"
    if len(os.fsencode(socket)) > SOCKET_LENGTH:
        raise ConfigError(
            f"{socket} is too long for a socket ({SOCKET_LENGTH} bytes): choose a shorter --folder"
        )
    owner = _owner()
    programs = _programs(folder)
    if not folder.exists():
        _make(folder, programs, owner)
    command = [
        str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(socket),
        "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700",
    ]  # fmt: skip
    with (
        log.open("ab") as lines,
        running(command, signal.SIGINT, cwd="/", stdout=lines, stderr=lines, **owner) as process,
    ):
        ready = [str(programs / "pg_isready"), "--quiet", "--host", str(socket)]
        deadline = time.monotonic() + 60  # after a crash it first reads its log
        while subprocess.run(ready).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"PostgreSQL does not start in {folder}: {log} says why")
            time.sleep(0.05)
        yield {"PGHOST": str(socket), "PGUSER": ROLE, "PGDATABASE": DATABASE}, process


def _owner() -> dict[str, Any]:
    """Popen's options for the user that PostgreSQL runs as: it refuses root."""
    if os.geteuid():
        return {}
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        raise ConfigError(
            "PostgreSQL refuses root and there is no user postgres: start this as another user"
        ) from None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs, of the version that made `folder` if there is one."""
    found = {path.parent.name: path for path in DEBIAN.glob("*/bin") if (path / "initdb").exists()}
    record = folder / "data" / "PG_VERSION"
    made_by = record.read_text().strip() if record.exists() else ""
    if made_by in found:
        return found[made_by]
    if program := shutil.which("initdb"):
        return Path(program).resolve().parent
    if not found:
        raise ConfigError(
            "there is no PostgreSQL on this machine: apt-get install postgresql, or "
            f"--database sqlite, or --database {ADDRESS}"
        )
    if made_by:
        package = f"postgresql-{made_by}"
        raise ConfigError(f"{folder} is of another PostgreSQL: apt-get install {package}")
    return found[max(found, key=float)]


def _make(folder: Path, programs: Path, owner: dict[str, Any]) -> None:
    """Make the cluster beside its place and move it in whole."""
    draft = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "socket").mkdir(parents=True, mode=0o700)
    data = draft / "data"
    if owner:
        for path in (draft, draft / "socket"):
            os.chown(path, owner["user"], owner["group"])
        if subprocess.run(["test", "-w", str(draft)], cwd="/", **owner).returncode:
            shutil.rmtree(draft)
            raise ConfigError(
                f"the user postgres cannot enter {folder.parent}, where PostgreSQL would run: "
                "choose --folder /var/lib/hw2-mlflow, or start this as another user"
            )
    draft.chmod(0o700)
    _call(
        [str(programs / "initdb"), "-D", str(data), "--username", ROLE, "--auth", "peer",
         "--encoding", "UTF8", "--locale", "C"],
        owner,
    )  # fmt: skip
    me = pwd.getpwuid(os.geteuid()).pw_name
    (data / "pg_hba.conf").write_text(f"local all {ROLE} peer map=own\n")
    (data / "pg_ident.conf").write_text(f'own "{me}" {ROLE}\n')
    single = [str(programs / "postgres"), "--single", "-D", str(data), "postgres"]
    _call(single, owner, f"CREATE DATABASE {DATABASE};\n")
    draft.replace(folder)


def _call(command: list[str], owner: dict[str, Any], told: str = "") -> None:
    ended = subprocess.run(command, input=told, capture_output=True, text=True, cwd="/", **owner)
    if ended.returncode:
        said = " ".join(ended.stderr.split())[-300:]
        raise ConfigError(
            f"{Path(command[0]).name} fails ({said}): mend that, or choose another --folder"
        )
