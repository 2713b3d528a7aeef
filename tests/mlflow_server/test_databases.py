"""The server on the other databases that `--database` takes: what is logged outlives a restart."""

import os
import signal
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from hw2.errors import ConfigError
from hw2.tracking import open_run
from tests.mlflow_server.served import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=0"


@pytest.fixture
def of_the_department(short_folder: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database `theirs` at a PostgreSQL that is not this server's own."""
    monkeypatch.setenv("PGHOST", str(short_folder / "server/postgres/socket"))
    with closing(psycopg2.connect(user="mlflow", dbname="mlflow")) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE theirs")
    return "postgresql://mlflow@/theirs"


def test_a_server_without_its_postgresql_ends(short_folder: Path) -> None:
    """It would answer, and refuse all; whoever watches it starts what has ended."""
    (folder := short_folder / "alone").mkdir()
    server = Served(folder)
    server.wait()
    pid = int((folder / "server/postgres/data/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert server.process.wait(30) == 2
    told = f"error: its PostgreSQL ended with code -9: {folder}/server/postgres.log says why; the"
    assert server.log.read_text().splitlines()[-1] == f"{told} same command starts both again"

    again = Served(folder)
    again.wait(new=False)
    assert again.call("GET", EXPERIMENT, user="bob").status == 200
    assert again.stop() == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_run_outlives_the_server(
    kind: str, short_folder: Path, request: pytest.FixtureRequest
) -> None:
    told = kind if kind == "sqlite" else request.getfixturevalue("of_the_department")
    (folder := short_folder / kind).mkdir()
    server = Served(folder, "--database", told)
    server.wait()
    run = server.client.create_run("0")
    for step in range(5):
        server.client.log_metric(run.info.run_id, "loss", step / 8, step=step)
    assert server.call("GET", EXPERIMENT, user=None).status == 401
    assert server.stop() == 0
    assert not (folder / "server/postgres").exists()
    files = {path.name: path for path in (folder / "server").glob("*.db*")}
    assert ({"mlflow.db", "accounts.db"} <= files.keys()) == (kind == "sqlite")
    assert [name for name, path in files.items() if path.stat().st_mode & 0o077] == []

    again = Served(folder, "--database", told)
    again.wait(new=False)
    rows = again.client.get_metric_history(run.info.run_id, "loss")
    assert [(row.step, row.value) for row in rows] == [(step, step / 8) for step in range(5)]
    assert (
        again.call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", user="bob").status
        == 200
    )
    assert again.stop() == 0


def test_an_account_that_may_not_write_is_told_whom_to_ask(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := short_folder / "read").mkdir()
    server = Served(folder, "--database", "sqlite", "--default_permission", "READ")
    server.wait()
    experiment = server.client.create_experiment("of admin")
    for name, value in server.as_user("bob").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"refuses this account .*for the permission EDIT"):
        open_run(server.address, experiment, "0" * 32, "bob's", {})
    assert server.stop() == 0
