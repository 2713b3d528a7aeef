"""The server's own PostgreSQL: which version runs, what a killed start leaves, and who gets in."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from hw2.errors import ConfigError
from hw2.mlflow_server import postgres
from hw2.mlflow_server.postgres import SOCKET_LENGTH, _owner, _programs, own_postgres


@pytest.fixture
def place(short_folder: Path) -> Iterator[Path]:
    """Where a cluster is to be made."""
    (folder := short_folder / "cluster").mkdir(0o711)
    yield folder / "postgres"
    shutil.rmtree(folder)


def asked(variables: dict[str, str], query: str) -> list[Any]:
    names = {"host": "PGHOST", "user": "PGUSER", "dbname": "PGDATABASE"}
    address = {ours: variables[name] for ours, name in names.items()}
    with closing(psycopg2.connect(**address)) as database, database, database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


def said_to(user: str, variables: dict[str, str], program: Path) -> subprocess.CompletedProcess:
    """What PostgreSQL says to another user of this machine."""
    words = [str(program), "--no-password", "--command", "SELECT 'let in'"]
    given = {"env": variables, "cwd": "/", "capture_output": True, "text": True}
    return subprocess.run(words, user=user, group=pwd.getpwnam(user).pw_gid, **given)


@pytest.mark.slow
def test_a_cluster_is_made_after_a_start_that_was_killed_and_keeps_its_tables(place: Path) -> None:
    draft, log = place.with_name("postgres.new"), place.with_name("postgres.log")
    for left in ("data", "socket"):
        (draft / left / "half").mkdir(parents=True)
    with own_postgres(place, log) as (variables, process):
        assert not draft.exists() and process.poll() is None
        asked(variables, "CREATE TABLE runs AS SELECT 'Zoë' AS name")
    assert process.returncode == 0
    with own_postgres(place, log) as (variables, _):
        assert asked(variables, "SELECT name FROM runs") == [("Zoë",)]
    assert log.read_text().count("database system is shut down") == 2


@pytest.mark.slow
def test_who_started_the_cluster_gets_in_and_nobody_else(place: Path) -> None:
    longest = place.with_name("x" * (SOCKET_LENGTH - len(f"{place.parent}//socket")))
    with own_postgres(longest, place.with_name("postgres.log")) as (variables, _):
        assert asked(variables, "SHOW listen_addresses") == [("",)]
        assert asked(variables, "SELECT rolname FROM pg_roles WHERE rolcanlogin") == [("mlflow",)]
        if os.geteuid() == 0:
            program = _programs(longest) / "psql"
            for user, why in (("nobody", "Permission denied"), ("postgres", "Peer authentication")):
                answer = said_to(user, variables, program)
                assert answer.returncode and why in answer.stderr and not answer.stdout


@pytest.mark.slow
def test_a_cluster_that_does_not_start_is_told_with_its_log(place: Path) -> None:
    log = place.with_name("postgres.log")
    with own_postgres(place, log):
        pass
    (place / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    told = f"PostgreSQL does not start in {place}: {log} says why"
    with pytest.raises(ConfigError, match=told), own_postgres(place, log):
        pass
    assert "no_such_setting" in log.read_text()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="others run PostgreSQL as themselves")
def test_a_folder_that_the_user_postgres_cannot_enter(place: Path) -> None:
    place.parent.chmod(0o700)
    told = f"the user postgres cannot enter {place.parent}, .*choose --folder /var/lib/"
    with pytest.raises(ConfigError, match=told), own_postgres(place, place.with_name("log")):
        pass
    assert list(place.parent.iterdir()) == []


def test_root_without_a_user_postgres_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", nobody)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _owner() == {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="PostgreSQL refuses root and there is no user postgres"):
        _owner()


def test_a_cluster_is_run_by_the_version_that_made_it_else_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for version in ("9.6", "15", "16"):
        (tmp_path / version / "bin").mkdir(parents=True)
    for version in ("9.6", "15"):  # of 16 the client alone is installed
        (tmp_path / version / "bin" / "initdb").touch()
    folder, other = tmp_path / "cluster", tmp_path / "path" / "initdb"
    assert _programs(folder) == tmp_path / "15" / "bin"
    (folder / "data").mkdir(parents=True)
    for made_by in ("9.6", "15"):
        (folder / "data" / "PG_VERSION").write_text(f"{made_by}\n")
        assert _programs(folder) == tmp_path / made_by / "bin"
    (folder / "data" / "PG_VERSION").write_text("14\n")
    told = f"{folder} is of another PostgreSQL: apt-get install postgresql-14"
    with pytest.raises(ConfigError, match=re.escape(told)):
        _programs(folder)
    other.parent.mkdir()
    other.touch(0o755)  # as one that was built by hand
    assert _programs(tmp_path / "new") == other.parent
