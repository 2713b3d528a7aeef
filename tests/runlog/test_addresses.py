"""Addresses of tracking stores: which are taken, and how they are shown."""

import shutil
from pathlib import Path

import pytest

from hw2.disclosure import mask
from hw2.errors import ConfigError
from hw2.runlog.addresses import resolve_uri, ui_command


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
    assert ui_command("postgresql://me:pw@db/x").endswith(
        'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI" --port 5000'
    )


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "sqlite://", "databricks"])
def test_stores_that_double_rows_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI=") as caught:
        resolve_uri(uri)
    assert uri in str(caught.value) and "sqlite:///mlflow.db" in str(caught.value)


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
