"""The server on the other databases that `--database` takes: what is logged outlives a restart."""

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

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
