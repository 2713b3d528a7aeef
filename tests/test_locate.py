"""Which file a model's name means, and what is said when there is none."""

from functools import partial
from pathlib import Path

import pytest
import torch

from hw2 import locate
from hw2.checkpoint import CheckpointStore
from hw2.clip.finding import find_clip
from hw2.digits.judging import find_judge
from hw2.errors import BusyError, CheckpointError
from hw2.locate import FINAL, find_model
from hw2.lock import JOB_LOCK, only_writer
from hw2.text2image.autoencoder_training import find_autoencoder


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locate, "ASSETS", tmp_path / "assets")
    for name in ("judge", "digits"):
        (tmp_path / "assets" / name).mkdir(parents=True)
        (tmp_path / "assets" / name / FINAL).write_bytes(b"")
    return tmp_path / "assets"


def test_a_file_and_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / FINAL
    file.write_bytes(b"")
    assert find_model(str(file)) == find_model(str(tmp_path)) == file
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~") == find_model(f"~/{FINAL}") == file
    monkeypatch.chdir(tmp_path)
    assert find_model(".") == find_model(FINAL) == file  # absolute: workers run elsewhere
    other = tmp_path / "Classifier.pth"
    other.write_bytes(b"")
    assert find_model(str(other)) == other


def test_a_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointStore(tmp_path / "checkpoints").save(5, {"ema.w": torch.ones(1)}, {}, None)
    file = folder / "state.safetensors"
    assert find_model(str(folder)) == find_model(str(file)) == file


def test_what_a_job_at_work_is_about_to_replace(tmp_path: Path) -> None:
    """Actors that load later would draw with other weights than those that were hashed."""
    file = tmp_path / FINAL
    file.write_bytes(b"of fewer steps")
    kept = CheckpointStore(tmp_path / "checkpoints").save(5, {"ema.w": torch.ones(1)}, {}, None)
    with only_writer(tmp_path, 0.0, JOB_LOCK):
        for model in (tmp_path, file):
            with pytest.raises(BusyError, match=f"^{tmp_path}: a job is still at work there: wait"):
                find_model(str(model))
        assert find_model(str(kept)).parent == kept  # whose bytes stay
    assert find_model(str(tmp_path)) == file


def test_an_asset(assets: Path) -> None:
    assert find_model("asset:digits") == assets / "digits" / FINAL


def test_an_unknown_asset_names_the_known(assets: Path) -> None:
    with pytest.raises(
        CheckpointError, match="model=asset:faces: no such asset; there is digits, "
    ):
        find_model("asset:faces")


@pytest.mark.parametrize("name", ["missing", "folder", "C:\\models\\digits", "a:b"])
def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError) as error:
        find_model(name)
    message = str(error.value)
    assert message.startswith(f"model={name}: ") and "run:ID or asset:NAME" in message


def test_the_setting_is_named_with_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for find, key, end in (
        (find_judge, "judge", "asset:NAME, or the course's Classifier.pth"),
        (find_autoencoder, "autoencoder", "asset:NAME"),
        (partial(find_clip, None), "pretrained", "asset:NAME, or with --model a tag of open_clip"),
    ):
        with pytest.raises(CheckpointError) as error:
            find("missing")
        assert str(error.value).startswith(f"{key}=missing: ") and str(error.value).endswith(end)
        with pytest.raises(CheckpointError, match=f"^{key}=asset:missing: no such asset; there is"):
            find("asset:missing")
        with pytest.raises(CheckpointError, match=f"^{key}=run:12ab: there is no run:12ab in "):
            find("run:12ab")


@pytest.mark.parametrize("name", ["run", "asset"])
def test_a_folder_called_as_a_kind_of_weights_is_a_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / name / FINAL
    weights.parent.mkdir()
    weights.touch()
    assert find_model(name) == weights
