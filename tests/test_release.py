"""Released assets: read and checked whole, then written whole or not at all."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hw2.config import load
from hw2.errors import BusyError, CheckpointError, ConfigError
from hw2.locate import ASSETS
from hw2.lock import JOB_LOCK, only_writer
from hw2.release import CARD_FILE, card_settings, release, size_of
from hw2.settings.assets import ReleaseAssetConfig
from tests.personalize.tiny import tiny_pipeline_folder

META = {"kind": "judge", "data_hash": "abc", "seed": 3, "step": 70}
FIGURES = {"eval/accuracy": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 40}, "calls": 34}


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("hw2.release.ASSETS", tmp_path / "assets")
    return tmp_path / "assets"


def write_weights(run: Path, tensors: dict[str, Tensor], **meta: object) -> None:
    save_file(tensors, run / "final.safetensors", metadata={"hw2": json.dumps(META | meta)})


def average(value: float = 1.0) -> dict[str, Tensor]:
    return {"net.w": torch.zeros(2), "ema.w": torch.tensor([0.5, value]), "ema.n": torch.tensor(7)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished training."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_weights(folder, average())
    (folder / "metrics.json").write_text(json.dumps(FIGURES))
    (folder / "config.yaml").write_text("seed: 3\n")
    return folder


def test_averages_in_half_precision_with_a_card(assets: Path, run: Path) -> None:
    folder = assets / "mine"
    folder.mkdir(parents=True)
    (folder / "of_before").touch()
    assert release(run, "mine", "make mine", "A note.") == folder
    found = load_file(folder / "final.safetensors")
    assert found["ema.w"].dtype == torch.float16 and found["ema.w"].tolist() == [0.5, 1.0]
    assert found["ema.n"].item() == 7 and found["ema.n"].dtype == torch.int64
    card = (folder / CARD_FILE).read_text()
    for part in ("judge", "`make mine`", "`abc`", "seed: 3, steps: 70", "A note.", "0.75", "34"):
        assert part in card
    assert card_settings(folder) == {"seed": 3}
    assert sorted(path.name for path in folder.iterdir()) == [CARD_FILE, "final.safetensors"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    assert [path.name for path in assets.iterdir()] == ["mine"]


def test_sizes_are_in_millions_of_bytes_as_those_of_an_upload(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    for name in ("a.json", "unet/a.safetensors", CARD_FILE):
        (tmp_path / name).write_bytes(bytes(750_000))
    assert size_of(tmp_path) == 1.5


def metrics(text: str) -> Callable[[Path], object]:
    return lambda run: (run / "metrics.json").write_text(text)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "metrics that are torn": (metrics('{"eval'), "metrics.json: not the figures of a training"),
    "metrics that are a list": (metrics("[1]"), "metrics.json: not the figures of a training"),
    "a figure that is a text": (metrics('{"a": "x"}'), "metrics.json: not the figures"),
    "a figure without ends": (metrics('{"a": {"value": 1}}'), "metrics.json: not the figures"),
    "no weights": (
        lambda run: (run / "final.safetensors").unlink(),
        "safetensors: missing; finish",
    ),
    "no metrics": (lambda run: (run / "metrics.json").unlink(), "metrics.json: missing; finish"),
    "settings that are torn": (
        lambda run: (run / "config.yaml").write_text("a: ["),
        "broken YAML in .*config.yaml",
    ),
    "a weight that is no number": (
        lambda run: write_weights(run, average(torch.nan)),
        "final.safetensors: ema.w holds nan or infinite",
    ),
    "a weight beyond half precision": (
        lambda run: write_weights(run, average(1e6)),
        "final.safetensors in half precision: ema.w holds nan or infinite",
    ),
    "no averages": (
        lambda run: write_weights(run, {"net.w": torch.zeros(2)}),
        "holds no averaged weights",
    ),
    "a kind that no job takes": (
        lambda run: write_weights(run, average(), kind="custom_diffusion"),
        "kind custom_diffusion: no job could take it as an asset; want judge or digit_ddpm",
    ),
    "a kind that is a list": (
        lambda run: write_weights(run, average(), kind=["judge"]),
        "no job could take",
    ),
    "no data hash": (
        lambda run: save_file(
            average(), run / "final.safetensors", metadata={"hw2": '{"kind": "judge"}'}
        ),
        "has no data_hash",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_refused_leaves_the_asset_as_it_was(what: str, assets: Path, run: Path) -> None:
    release(run, "mine", "make mine")
    before = {path.name: path.read_bytes() for path in (assets / "mine").iterdir()}
    spoil, told = SPOILT[what]
    spoil(run)
    with pytest.raises((CheckpointError, ConfigError), match=told) as refusal:
        release(run, "mine", "another command")
    assert "\n" not in str(refusal.value)
    assert {path.name: path.read_bytes() for path in (assets / "mine").iterdir()} == before
    assert [path.name for path in assets.iterdir()] == ["mine"]


def test_a_training_at_work_is_not_released(assets: Path, run: Path) -> None:
    with only_writer(run, 0.0, JOB_LOCK), pytest.raises(BusyError, match="run: a job is still at"):
        release(run, "mine", "make mine")
    assert not assets.exists()


def test_a_first_release_that_is_refused_leaves_nothing(assets: Path, run: Path) -> None:
    write_weights(run, average(torch.nan))
    with pytest.raises(CheckpointError, match=r"ema\.w holds nan or infinite"):
        release(run, "mine", "make mine")
    assert not assets.exists()


def test_a_pipeline_is_released_unless_a_link_leads_out_of_it(
    assets: Path, run: Path, tmp_path: Path
) -> None:
    write_weights(run, average(), kind="text2image")
    tiny_pipeline_folder(run / "pipeline")
    folder = release(run, "mine", "make mine")
    names = {path.name for path in (run / "pipeline").iterdir()}
    assert {path.name for path in folder.iterdir()} == names | {CARD_FILE}
    (tmp_path / "secret").write_text("of another")
    (run / "pipeline" / "notes").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="notes is a link that leads out of it"):
        release(run, "mine", "make mine")
    (run / "pipeline" / "notes").unlink()
    (run / "pipeline/unet/diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="the file is torn"):
        release(run, "mine", "make mine")
    assert {path.name for path in folder.iterdir()} == names | {CARD_FILE}
    (run / "pipeline").rename(tmp_path / "pipeline")
    (run / "pipeline").symlink_to(tmp_path / "pipeline")
    with pytest.raises(CheckpointError, match="pipeline is a link that leads out of it"):
        release(run, "mine", "make mine")


def test_a_disk_that_fails_at_the_last_moment_leaves_the_asset_as_it_was(
    assets: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = release(run, "mine", "make mine")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == ".mine.part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
        patch.setattr(Path, "rename", failing)
        release(run, "mine", "make another")
    assert "`make mine`" in (folder / CARD_FILE).read_text()

    folder.rename(assets / ".mine.old")  # killed there
    (run / "metrics.json").unlink()
    with pytest.raises(CheckpointError):
        release(run, "mine", "make another")
    assert [path.name for path in assets.iterdir()] in ([".mine.old"], ["mine"])
    (run / "metrics.json").write_text(json.dumps(FIGURES))
    assert release(run, "mine", "make another") == folder
    assert [path.name for path in assets.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["../mine", "a/b", "Mine", "a.b"])
def test_an_asset_is_named_by_one_word(name: str) -> None:
    with pytest.raises(ConfigError, match=f"name={name} on the command line: want a text matching"):
        load(ReleaseAssetConfig, ["--model", "run", f"--name={name}"], prog="job", description="")


def test_the_weights_of_this_repository_are_light_and_described() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}  # no pickles
    assert sum(path.stat().st_size for path in files) <= 30 * 2**20
    assert {folder.name for folder in ASSETS.iterdir()} >= {"clip", "digits", "faces", "judge"}
    for folder in ASSETS.iterdir():
        card = (folder / CARD_FILE).read_text()
        for part in ("Made again by: `", "data hash: `", "seed: 0, steps: ", "| eval/", "yaml"):
            assert part in card, folder
