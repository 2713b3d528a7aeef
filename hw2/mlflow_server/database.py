"""Where the server keeps runs and accounts, and one rule that it adds there.

MLflow lets an account choose where an experiment's files lie, any folder that the server can write
to. The rule leaves them where the server puts them: mlflow-artifacts:/ID.
"""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hw2.disclosure import describe, mask
from hw2.errors import ConfigError
from hw2.mlflow_server.postgres import DATABASE, ROLE, own_postgres
from hw2.runlog.addresses import sqlite_file, sqlite_uri

DRIVER = "postgresql+psycopg2"  # SQLAlchemy means another one by postgresql://
RULE = "files_lie_where_the_server_puts_them"
POSTGRES_RULE = f"""
ALTER TABLE experiments DROP CONSTRAINT IF EXISTS {RULE};
ALTER TABLE experiments ADD CONSTRAINT {RULE} CHECK (
  coalesce(artifact_location, '') IN ('', 'mlflow-artifacts:/' || experiment_id)
) NOT VALID
"""
SQLITE_RULE = "\n".join(
    f"""
CREATE TRIGGER IF NOT EXISTS {RULE}_{number} BEFORE {event} ON experiments
WHEN coalesce(NEW.artifact_location, '') NOT IN ('', 'mlflow-artifacts:/' || NEW.experiment_id)
BEGIN SELECT raise(ABORT, '{RULE}'); END;
"""
    for number, event in enumerate(("INSERT", "UPDATE OF artifact_location"))
)


@dataclass(frozen=True)
class Database:
    """An address without a password, and the variables that the server needs to get there."""

    uri: str
    accounts_uri: str
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None  # of the server's own

    def add_rule(self) -> None:
        """Add the rule about artifact locations; MLflow's tables are there."""
        if path := sqlite_file(self.uri):
            with closing(sqlite3.connect(path, timeout=60)) as database:
                database.executescript(SQLITE_RULE)
        else:
            with closing(_connect(self)) as database, database, database.cursor() as cursor:
                cursor.execute(POSTGRES_RULE)


@contextmanager
def opened(told: str, folder: Path) -> Iterator[Database]:
    """The database that `told` names, running during the block: own, sqlite, or a PostgreSQL's URI.

    Raises ConfigError if it is not there, `folder` keeps its runs in another one, or `told` holds
    a password.
    """
    _refuse_other(told, folder)
    if told == "sqlite":
        runs, accounts = folder / "mlflow.db", folder / "accounts.db"
        for file in (runs, accounts):  # accounts.db has the hashes of the passwords
            file.touch(0o600)
            file.chmod(0o600)
        yield Database(sqlite_uri(runs), sqlite_uri(accounts))
    elif told == "own":
        with own_postgres(folder / "postgres", folder / "postgres.log") as (variables, process):
            uri = f"{DRIVER}://{ROLE}@/{DATABASE}"
            yield Database(uri, uri, variables, process)
    else:
        if urlsplit(told).password is not None or "password=" in told:
            raise ConfigError(
                "database holds a password, which every user of this machine can read from the "
                "command line: leave it out, and set PGPASSWORD or write ~/.pgpass"
            )
        uri = f"{DRIVER}://{told.partition('://')[2]}"
        database = Database(uri, uri)
        _connect(database).close()
        yield database


def _refuse_other(told: str, folder: Path) -> None:
    """Raise ConfigError if the runs of `folder` are not where `told` would look for them."""
    for kind, kept in (("own", folder / "postgres"), ("sqlite", folder / "mlflow.db")):
        if told != kind and kept.exists() and (kept.is_dir() or kept.stat().st_size):
            raise ConfigError(
                f"database={mask(told)}: the runs of {folder} are in {kept}, where they would not "
                f"be seen: give --database {kind}, or another --folder"
            )


def _connect(database: Database) -> Any:
    import psycopg2

    given = {name.removeprefix("PG").lower(): value for name, value in database.variables.items()}
    given = {"dbname" if name == "database" else name: value for name, value in given.items()}
    address = f"postgresql://{database.uri.partition('://')[2]}"
    try:
        return psycopg2.connect(address, connect_timeout=10, **given)
    except psycopg2.OperationalError as error:
        raise ConfigError(
            f"database={mask(address)} cannot be used ({describe(error)}): "
            "mend that; its password is taken from PGPASSWORD or ~/.pgpass"
        ) from None
