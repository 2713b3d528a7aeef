"""Weights fetched from a run of MLflow, and what is said where there are none."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hw2.errors import CheckpointError
from hw2.locate import find_model
from hw2.runlog import artifacts
from hw2.runlog.artifacts import download
from tests.ports import free_port
from tests.stores import start

pytest_plugins = ["tests.store_fixtures"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hw2" / "runs"


def test_weights_of_a_run_are_fetched(
    tmp_path: Path, store: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "out/final.safetensors"
    with start(tmp_path / "out", store) as tracker:
        save_file({"w": torch.arange(3.0)}, weights)
        tracker.log_file(weights)
    first = download(tracker.run_id, "final.safetensors", store)
    assert first.is_relative_to(cache / tracker.run_id)
    assert download(tracker.run_id, "final.safetensors", store) == first

    with start(tmp_path / "out", store) as tracker:  # trained on: a file in use stays as it is
        save_file({"w": torch.arange(4.0)}, weights)
        tracker.log_file(weights)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    second = find_model(f"run:{tracker.run_id}")
    assert len(load_file(first)["w"]) == 3 and len(load_file(second)["w"]) == 4
    assert {path.name for path in cache.iterdir()} == {tracker.run_id}  # nothing half-fetched


@pytest.mark.parametrize("shared_cache", [True, False], ids=["same node", "another node"])
def test_weights_of_a_run_go_to_workers(
    tmp_path: Path, store: str, cache: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: bool
) -> None:
    """Which run in a folder of their own, and do not have the driver's environment."""
    with start(tmp_path / "out", store) as tracker:
        save_file({"w": torch.arange(3.0)}, tmp_path / "out/final.safetensors")
        tracker.log_file(tmp_path / "out/final.safetensors")
    file = Path(store.removeprefix("sqlite:///"))
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file.name}")
    found = find_model(f"run:{tracker.run_id}")

    (tmp_path / "trial").mkdir()
    monkeypatch.chdir(tmp_path / "trial")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sent = pickle.dumps(found)
    if shared_cache:
        monkeypatch.setattr(artifacts, "download", lambda *_: pytest.fail("it is here already"))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
        found.unlink()
    there = pickle.loads(sent)
    assert (there == found) == shared_cache
    assert list(load_file(there)["w"]) == [0, 1, 2]
    assert pickle.loads(pickle.dumps(there)) == there  # from worker to worker
    assert list((tmp_path / "trial").iterdir()) == []


def test_an_address_with_a_password_does_not_go_to_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://user:hunter2@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    asked: list[str | None] = []

    def noted(run_id: str, name: str, tracking_uri: str | None) -> Path:
        asked.append(tracking_uri)
        return tmp_path / "absent"

    monkeypatch.setattr(artifacts, "download", noted)
    sent = pickle.dumps(find_model("run:0123abcd"))
    assert b"hunter2" not in sent
    pickle.loads(sent)
    assert asked == [uri, None]  # None: as the worker's own environment says


def test_fetching_in_vain_says_what_there_is(tmp_path: Path, store: str, cache: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("seed: 0\n")
    with start(tmp_path / "out", store) as tracker:
        tracker.log_file(tmp_path / "out/config.yaml")
    with pytest.raises(CheckpointError, match=r"has no final\.safetensors \(it has config\.yaml\)"):
        download(tracker.run_id, "final.safetensors", store)
    with pytest.raises(CheckpointError, match=r"there is no run:0123abcd in the .*MLflow UI"):
        download("0123abcd", "final.safetensors", store)


@pytest.mark.parametrize("run_id", ["", "../../etc", "a/b", "a b"])
def test_what_is_no_run_id_is_refused(run_id: str, store: str, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=f"there is no run:{run_id} in"):
        download(run_id, "final.safetensors", store)
    assert not cache.exists()


def test_fetching_makes_no_store(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.db.*set MLFLOW_TRACKING_URI"):
        download("0123abcd", "final.safetensors", f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.glob("none.db*"))


@pytest.mark.parametrize("kind", ["a file in its place", "no place for it"])
def test_a_cache_that_cannot_be_made(
    kind: str, tmp_path: Path, store: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    if kind == "no place for it":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    with pytest.raises(CheckpointError, match="XDG_CACHE_HOME") as caught:
        download("0123abcd", "final.safetensors", store)
    assert "\n" not in str(caught.value)


def test_fetching_from_a_server_that_is_away_shows_no_password(cache: Path) -> None:
    uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    with pytest.raises(CheckpointError, match=r"cannot fetch .*\*\*\*@127\.0\.0\.1") as caught:
        download("0123abcd", "final.safetensors", uri)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)
