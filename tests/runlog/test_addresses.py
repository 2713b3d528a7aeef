"""Addresses of tracking stores: which are taken, and how they are shown."""

import re
import shutil
from pathlib import Path

import pytest

from hw2.config import JobConfig
from hw2.disclosure import mask
from hw2.errors import ConfigError
from hw2.job import run_job
from hw2.runlog.addresses import resolve_uri, run_page, shareable, sqlite_file, ui_command
from hw2.runlog.run_file import RUN_FILE
from hw2.runlog.tracker import Tracker
from hw2.tracking import refuse_silent


def test_default_store_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    program, _, rest = ui_command().partition(" ")
    assert rest == f"ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db --port 5000"
    assert shutil.which(program)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pw@tracking.example:5000")
    assert resolve_uri() == "http://me:pw@tracking.example:5000"
    assert ui_command() == "http://tracking.example:5000"
    assert run_page(f"{ui_command()}/", "ab") == "http://tracking.example:5000/#/runs/ab"
    spaced = "mlflow ui --backend-store-uri 'sqlite:////my disk/mlflow.db' --port 5000"
    assert ui_command("sqlite:////my disk/mlflow.db").endswith(spaced)


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b", "100%"])
def test_a_store_lies_in_its_folder_whatever_that_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with Tracker.start(folder / "out", experiment="e", run_name="r", config={}) as tracker:
        assert resolve_uri(tracker.tracking_uri) == tracker.tracking_uri
        assert sqlite_file(resolve_uri()) == folder / "mlflow.db"
        tracker.log_file(folder / "out" / RUN_FILE)
        assert tracker.flush()
    # MLflow makes a folder of the address as it is written, which stays empty.
    assert not [path for path in tmp_path.iterdir() if path != folder and list(path.iterdir())]
    assert (folder / "mlflow.db").is_file()
    assert list((folder / "mlartifacts").rglob(RUN_FILE))


def test_an_address_with_a_password_is_not_shared() -> None:
    assert shareable("http://me:pw@tracking.example:5000") is None
    assert shareable("http://tracking.example:5000") == "http://tracking.example:5000"
    assert shareable(None) is None


def test_options_of_a_store_stay() -> None:
    assert resolve_uri("sqlite:////a/b.db?timeout=9") == "sqlite:////a/b.db?timeout=9"
    assert sqlite_file("sqlite:////a/b.db?timeout=9") == Path("/a/b.db")
    assert sqlite_file("http://127.0.0.1:5000") is None


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "sqlite://", "databricks"])
def test_stores_that_double_rows_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI=") as caught:
        resolve_uri(uri)
    assert uri in str(caught.value)
    assert str(caught.value).endswith("use sqlite:///mlflow.db or http(s)://...")


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgresql+psycopg2", "postgres", "mysql+pymysql", "mssql+pyodbc"]
)
def test_a_bare_database_is_refused_with_the_way_out(
    scheme: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """MLflow would put the files of its runs into the working folder of some process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:hunter2@db.example/x?password=sesame")
    code = run_job(JobConfig, lambda config: refuse_silent(resolve_uri()), argv=["--out", "out"])
    told = capsys.readouterr().err
    assert code == 2 and told.count("\n") == 1
    assert told.startswith(f"error: MLFLOW_TRACKING_URI={scheme}://... is a database")
    assert not [part for part in ("me:", "hunter2", "sesame", "db.example") if part in told]
    assert "`make mlflow-server`" in told and not list(tmp_path.iterdir())
    _, *offered = re.findall(r"\w+\S*://\S+", told)
    assert [address.partition("=")[2] for address in offered] == ["http://HOST:5000"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:pw@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg://u:p%40w@db/x", "postgresql+psycopg://***@db/x"),
        ("https://token@host", "https://***@host"),
        ("postgresql://db/x?user=u&password=pw&a=b", "postgresql://db/x?user=u&password=***&a=b"),
        ("API request to http://u:p@host/api failed", "API request to http://***@host/api failed"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert mask(text) == masked
