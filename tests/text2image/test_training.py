"""The two trainings of the small model on a few pictures, in this process."""

import csv
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from hw2.data.captions import warn_of_cut
from hw2.data.offline.compositions import composition
from hw2.errors import CheckpointError, ConfigError, DataError, StorageError
from hw2.events import Saved
from hw2.models.text2image import build_autoencoder
from hw2.pixels import to_unit
from hw2.settings.data import DataConfig
from hw2.settings.text2image import (
    AutoencoderConfig,
    DrawSettings,
    LatentUNetConfig,
    TextEncoderConfig,
    TrainAutoencoderConfig,
    TrainText2ImageConfig,
)
from hw2.settings.training import TrainConfig
from hw2.text2image import latents
from hw2.text2image.autoencoder_training import (
    Reconstruction,
    autoencoder_training,
    final_error,
    find_autoencoder,
    load_autoencoder,
    read_text2image,
    reconstruction_errors,
)
from hw2.text2image.autoencoding import Autoencoding, encode
from hw2.text2image.export import write_pipeline
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.training import finished, latent_objective, text2image_training
from hw2.weights import save_weights
from jobs.train_text2image import main
from tests.full_disks import small_disk
from tests.in_process import final, run_bare

COUNT, HELD_OUT = 40, 4
TRAIN = TrainConfig(
    num_steps=40, batch_size=4, warmup_steps=2, precision="fp32", learning_rate=1e-2
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    root = tmp_path_factory.mktemp("tree")
    (root / "text2image/train").mkdir(parents=True)
    with (root / "text2image/train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_name", "caption"])
        for index in range(COUNT):
            pixels, caption = composition(0, index)
            Image.fromarray(pixels).save(root / f"text2image/train/{index}.png")
            table.writerow([f"{index}.png", caption])
    return DataConfig(root=root)


@pytest.fixture(scope="module")
def autoencoder(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained one of 16x16 pictures, whose error fell."""
    out = tmp_path_factory.mktemp("autoencoder")
    network = AutoencoderConfig(channels=(8, 16))
    longer = TRAIN.model_copy(update={"num_steps": 150, "batch_size": 8, "decay": "cosine"})
    config = TrainAutoencoderConfig(
        out=out, data=data, image_size=16, network=network, train=longer
    )
    rows = run_bare(training := autoencoder_training(config, out))
    losses = [row.values["train/loss"] for row in rows]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    pictures = read_text2image(data, 16)
    error = final_error(config, final(training), pictures)
    fresh = build_autoencoder(network, 16, 0).eval()
    before = reconstruction_errors(fresh, pictures.images[-HELD_OUT:]).mean()
    assert error.value < 0.8 * float(before)
    return final(training)


def config_of(data: DataConfig, autoencoder: Path, **train: object) -> TrainText2ImageConfig:
    return TrainText2ImageConfig(
        out=Path("unused"),
        data=data,
        autoencoder=str(autoencoder),
        text=TextEncoderConfig(width=32, heads=2, layers=1, merges=50),
        network=LatentUNetConfig(channels=(16, 32), heads=2),
        train=TRAIN.model_copy(update={"checkpoint_every": 20, **train}),
    )


def test_model_learns_and_its_pipeline_is_diffusers(
    data: DataConfig, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(data, autoencoder)
    training = text2image_training(config, tmp_path, autoencoder)
    start = training.evaluate(training.net)["eval/loss"]
    run_bare(training)

    # The latents are encoded once.
    monkeypatch.setattr(latents, "_encoded", lambda *_: pytest.fail("encoded again"))
    model, loss = finished(config, autoencoder, tmp_path, final(training), torch.device("cpu"))
    assert loss.high < start
    scaled = latents.read_latents(config, autoencoder, tmp_path).latents
    assert float(scaled.std()) == pytest.approx(1, abs=1e-5)

    write_pipeline(model, tmp_path / "pipeline")
    files = [path for path in (tmp_path / "pipeline").rglob("*") if path.is_file()]
    modes = {path.stat().st_mode for path in (*files, tmp_path / latents.LATENTS)}
    assert len(modes) == 1  # of weights as of texts
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline("a photo of a cat", num_inference_steps=2, output_type="pt").images
    assert drawn.shape == (1, 3, 16, 16) and bool(drawn.isfinite().all())
    loaded = load_stable_diffusion(str(tmp_path))
    assert loaded.prediction_type == "v_prediction"
    assert loaded.scaling_factor == pytest.approx(model.scaling_factor)


def test_the_objective_is_as_the_settings_say(
    data: DataConfig, autoencoder: Path, tmp_path: Path
) -> None:
    asked = {
        "prediction_type": "epsilon",
        "min_snr_gamma": 4.0,
        "timesteps": "uniform",
        "caption_dropout": 0.3,
    }
    config = config_of(data, autoencoder).model_copy(update=asked)
    pictures = latents.read_latents(config, autoencoder, tmp_path)
    objective = latent_objective(config, pictures)
    assert {name: getattr(objective, name) for name in asked} == asked
    start, end = pictures.tokenizer.bos_token_id, pictures.tokenizer.eos_token_id
    assert objective.empty.tolist() == [start] + [end] * (pictures.tokens.shape[1] - 1)


def test_the_last_pictures_are_not_trained_on(
    data: DataConfig, autoencoder: Path, tmp_path: Path
) -> None:
    network = AutoencoderConfig(channels=(8, 16))
    first = TrainAutoencoderConfig(
        out=tmp_path, data=data, image_size=16, network=network, train=TRAIN
    )
    training, whole = autoencoder_training(first, tmp_path), read_text2image(data, 16).images
    assert torch.equal(training.source.whole.images, whole[:-HELD_OUT])
    assert torch.equal(training.evaluate.pictures, whole[-HELD_OUT:])
    config = config_of(data, autoencoder)
    pictures = latents.read_latents(config, autoencoder, tmp_path)
    training = text2image_training(config, tmp_path, autoencoder)
    for field in ("latents", "tokens"):
        kept = getattr(pictures, field)
        assert torch.equal(getattr(training.source.whole, field), kept[:-HELD_OUT])
        assert torch.equal(getattr(training.evaluate.batch, field), kept[-HELD_OUT:])


@torch.no_grad()
def test_the_error_of_an_autoencoder_is_of_255_on_held_out_pictures(
    data: DataConfig, autoencoder: Path
) -> None:
    kept = load_file(autoencoder)
    vae = load_autoencoder(autoencoder)
    for name, value in vae.state_dict().items():
        assert torch.equal(value, kept[f"ema.vae.{name}"])
    pictures = read_text2image(data, 16)
    config = TrainAutoencoderConfig(out=Path("unused"), data=data, image_size=16, train=TRAIN)
    given = to_unit(pictures.images[-HELD_OUT:])
    drawn = vae.decode(vae.encode(given).latent_dist.mean).sample.clamp(-1, 1)
    off = 127.5 * (drawn - given).double().numpy()
    want = np.sqrt((off**2).mean((1, 2, 3))).mean()
    assert final_error(config, autoencoder, pictures).value == pytest.approx(want, rel=1e-5)


def test_latents_of_another_autoencoder_or_torn_ones_are_encoded_anew(
    data: DataConfig, autoencoder: Path, tmp_path: Path
) -> None:
    config = config_of(data, autoencoder)
    before = latents.read_latents(config, autoencoder, tmp_path).latents
    network = AutoencoderConfig(channels=(8, 16))
    meta = {"kind": "autoencoder", "network": network.model_dump(), "image_size": 16}
    other = tmp_path / "other.safetensors"
    save_weights(other, {"ema": Autoencoding(build_autoencoder(network, 16, 7))}, meta)
    found = latents.read_latents(config, other, tmp_path)
    want = encode(load_autoencoder(other), read_text2image(data, 16).images)
    torch.testing.assert_close(found.latents, want * found.scaling_factor)
    (tmp_path / latents.LATENTS).write_bytes(b"torn")
    assert torch.equal(latents.read_latents(config, autoencoder, tmp_path).latents, before)


def test_latents_that_a_full_disk_refuses_are_told_in_a_line(
    data: DataConfig, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "_encoded", lambda *_: torch.randn(2**19))  # two megabytes
    with small_disk(tmp_path / "disk", 1) as disk:
        with pytest.raises(StorageError, match=r"latents.*\(No space left on device\)"):
            latents.read_latents(config_of(data, autoencoder), autoencoder, disk)
        assert not list(disk.iterdir())


def test_the_sheet_is_of_held_out_captions_and_the_model_of_the_averages(
    data: DataConfig, autoencoder: Path, tmp_path: Path
) -> None:
    few = DrawSettings(num_inference_steps=2, precision="fp32")
    config = config_of(data, autoencoder, num_steps=2).model_copy(update={"sample": few})
    run_bare(training := text2image_training(config, tmp_path, autoencoder))
    with patch("hw2.text2image.training.sheet", return_value=Image.new("L", (1, 1))) as drawn:
        training.show(Saved(1, training.net))
    assert drawn.call_args.args[1] == read_text2image(data, 16).captions[-HELD_OUT:]
    model, _ = finished(config, autoencoder, tmp_path, final(training), torch.device("cpu"))
    kept = load_file(final(training))
    for name, value in model.unet.state_dict().items():
        assert torch.equal(value, kept[f"ema.unet.{name}"])


def test_captions_beyond_the_context_are_told(
    data: DataConfig, autoencoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(data, autoencoder)
    whole = latents.read_latents(config, autoencoder, tmp_path)
    end = whole.tokenizer.eos_token_id
    assert whole.lengths() == [(row != end).sum() + 1 for row in whole.tokens]
    longest = max(whole.lengths())
    short = config.text.model_copy(update={"context_length": longest - 1})
    cut = latents.read_latents(config.model_copy(update={"text": short}), autoencoder, tmp_path)
    assert cut.tokens.shape[1] == longest - 1 and cut.lengths() == whole.lengths()
    capsys.readouterr()
    for limit in (longest, longest - 1):
        warn_of_cut(cut.lengths(), limit)
    count = whole.lengths().count(longest)
    told = f"warning: {count} of {COUNT} captions are cut at {longest - 1} tokens\n"
    assert capsys.readouterr().err == told


def test_an_unreadable_negative_prompt_is_refused(
    data: DataConfig, autoencoder: Path, tmp_path: Path
) -> None:
    for said, told in (("a <new1>", "<new1> is no token"), ("a " * 99, "is 101 tokens")):
        config = config_of(data, autoencoder).model_copy(
            update={"out": tmp_path / "out", "sample": DrawSettings(negative_prompt=said)}
        )
        with pytest.raises(ConfigError, match=f"sample.negative_prompt=.*{told}"):
            main(config)
    assert not (tmp_path / "out").exists()


def test_resuming_is_bit_equal(
    data: DataConfig, autoencoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(data, autoencoder, num_steps=8, checkpoint_every=4)
    ends = []
    for name in ("whole", "cut"):
        out = tmp_path / name
        out.mkdir()
        run_bare(training := text2image_training(config, out, autoencoder))
        if name == "cut":
            final(training).unlink()
            last = max((out / "checkpoints").glob("step_*"))
            (last / "state.safetensors").write_bytes(b"torn")
            run_bare(text2image_training(config, out, autoencoder))
            assert "is torn and skipped" in capsys.readouterr().err
        ends.append(final(training).read_bytes())
    assert ends[0] == ends[1]


@pytest.mark.parametrize(("shown", "rows", "columns"), [(4, 2, 4), (13, 2, 10), (25, 4, 10)])
def test_a_sheet_of_however_many_are_held_out(
    shown: int, rows: int, columns: int, autoencoder: Path
) -> None:
    net = Autoencoding(load_autoencoder(autoencoder))
    pictures = torch.zeros(shown, 3, 16, 16, dtype=torch.uint8)
    with patch(
        "hw2.text2image.autoencoder_training.sheet", return_value=Image.new("L", (1, 1))
    ) as drawn:
        Reconstruction(pictures).show(Saved(1, net))
    assert drawn.call_args.args[0].shape[:2] == (rows, columns)


def test_too_few_to_hold_some_out(data: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "text2image").mkdir()
    (tmp_path / "text2image/train").symlink_to(data.root / "text2image/train")
    lines = (data.root / "text2image/train.csv").read_text().splitlines(keepends=True)
    (tmp_path / "text2image/train.csv").write_text("".join(lines[:10]))
    with pytest.raises(DataError, match=r"9 pictures; a tenth is held out .* 10 at least"):
        read_text2image(DataConfig(root=tmp_path), 16)


def test_bad_pictures_are_left_out_where_the_settings_say_so(
    data: DataConfig, tmp_path: Path
) -> None:
    shutil.copytree(data.root / "text2image", tmp_path / "text2image")
    (tmp_path / "text2image/train/3.png").write_bytes(b"torn")
    found = read_text2image(DataConfig(root=tmp_path, skip_bad=True), 16)
    assert len(found.images) == COUNT - 1
    with pytest.raises(DataError, match=r"3\.png"):
        read_text2image(DataConfig(root=tmp_path), 16)


def test_other_weights_are_no_autoencoder(autoencoder: Path) -> None:
    with pytest.raises(CheckpointError, match="asset:judge: holds the weights of kind judge"):
        find_autoencoder("asset:judge")
    with pytest.raises(CheckpointError, match="does not exist"):
        find_autoencoder(str(autoencoder.with_name("nothing")))
