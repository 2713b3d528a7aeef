"""Real jobs with secrets in their environment and addresses: what they leave holds none."""

from pathlib import Path

import pytest

from tests.clip.small import save_clip
from tests.jobs.command import Ended, Folder
from tests.stores import Server

pytest_plugins = ["tests.store_fixtures"]

IN_ADDRESS = "swordfish-in-the-address"
SECRETS = {
    "RAY_AUTH_TOKEN": "5ec7e7" * 10 + "5ec7",
    "MLFLOW_TRACKING_TOKEN": "bearer-of-all-tidings",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY",
    "HF_TOKEN": "hf_a_token_of_the_hub",
    "PGPASSWORD": "postgres-password",
}


def held(ended: Ended, *folders: Path) -> list[str]:
    """Where a secret stands: in what was printed, or in a file."""
    secrets = [text.encode() for text in (IN_ADDRESS, *SECRETS.values())]
    texts = {"stdout": ended.out.encode(), "stderr": ended.err.encode()}
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    texts |= {str(path): path.read_bytes() for path in files}
    return [name for name, text in texts.items() if any(secret in text for secret in secrets)]


@pytest.mark.slow
def test_a_training_into_a_tracking_server(
    tmp_path: Path, server: Server, digits_tree: Path, judge_words: list[object]
) -> None:
    folder = Folder(tmp_path / "work")
    folder.path.mkdir()
    uri = f"http://user:{IN_ADDRESS}@127.0.0.1:{server.port}"
    ended = folder.run("train_judge", *judge_words, MLFLOW_TRACKING_URI=uri, **SECRETS)
    assert ended.code == 0
    assert f"MLflow: http://127.0.0.1:{server.port}/#/runs/" in ended.out
    store = Path(server.store.removeprefix("sqlite:///"))
    assert held(ended, folder.path, server.folder, store.parent) == []


@pytest.fixture
def judge_words(digits_tree: Path) -> list[object]:
    settings = {"out": "out", "data.root": digits_tree, "scaling.num_workers": 0}
    settings |= {"train.num_steps": 2, "train.batch_size": 8, "name": f"a {SECRETS['HF_TOKEN']}"}
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def test_pictures_of_a_bucket_whose_address_holds_keys(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "work")
    folder.path.mkdir()
    keys = f"{SECRETS['AWS_ACCESS_KEY_ID']}:{SECRETS['AWS_SECRET_ACCESS_KEY']}"
    settings = {
        "images": f"s3://{keys}@bucket/set/val",
        "out": "out",
        "pretrained": save_clip(tmp_path / "clip/final.safetensors"),
        "scaling.num_workers": 0,
    }
    ended = folder.run_here("clip_zero_shot", settings)
    assert "an address with keys in it would be logged" in ended.refusal()
    assert not any(key in ended.err for key in keys.split(":"))
    assert list(folder.path.iterdir()) == []
