"""What MLflow's table of runs says without a click: who, by what, of which pictures."""

import os
from pathlib import Path
from typing import NoReturn

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND

from hw2.tracking import origin
from tests.stores import start

pytest_plugins = ["tests.store_fixtures"]


def test_the_table_of_runs_names_user_job_and_datasets(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "amy")
    tags = {"data_hash.train": "ab" * 32, "data_hash.val": "cd" * 32, "hash.judge": "ef" * 32}
    for _ in range(2):  # a second start reads the same again
        with start(tmp_path, store, tags=tags) as tracker:
            pass
    (tmp_path / "journal.delivered").unlink()  # and all is sent again
    with start(tmp_path, store, tags=tags | {"data_hash.val": "01" * 32}) as tracker:
        pass
    client = MlflowClient(tracking_uri=store)
    run = client.get_run(tracker.run_id)
    assert run.data.tags["mlflow.user"] == run.info.user_id == "amy"
    assert run.data.tags["mlflow.source.name"] == "jobs.digits"
    found = sorted((i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs)
    assert found == [("train", "ab" * 6), ("val", "01" * 6), ("val", "cd" * 6)]
    wanted = f"dataset.name = 'train' and dataset.digest = '{'ab' * 6}'"
    (same,) = client.search_runs([run.info.experiment_id], wanted)
    assert same.info.run_id == tracker.run_id


def test_a_server_without_datasets_holds_up_nothing(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log_inputs(client: MlflowClient, run_id: str, datasets: object) -> NoReturn:
        raise MlflowException("404", ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    tracker = start(tmp_path, store, tags={"data_hash.train": "ab" * 32})
    assert tracker.finish("FINISHED", 5.0)
    run = MlflowClient(tracking_uri=store).get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.data.tags["data_hash.train"] == "ab" * 32


def test_the_user_is_the_account_at_the_server_before_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setenv("LOGNAME", "login")
    assert origin("any")["mlflow.user"] == "login"
    (tmp_path / ".mlflow").mkdir()
    account, of_another_form = "[mlflow]\nmlflow_tracking_username = amy\n", "amy:pw\n"
    for text, user in ((account, "amy"), (of_another_form, "login")):
        (tmp_path / ".mlflow/credentials").write_text(text)
        assert origin("any")["mlflow.user"] == user


def test_a_user_without_a_name_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_USERNAME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def nameless(_: int) -> None:
        raise KeyError(os.getuid())

    monkeypatch.setattr("pwd.getpwuid", nameless)
    assert origin("any").keys() == {"mlflow.source.name", "mlflow.source.type"}
