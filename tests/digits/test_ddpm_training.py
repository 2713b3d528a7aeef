"""What a digit training is made of, and what its loss is measured on."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from hw2.data.batches import Shuffled
from hw2.data.digits import DigitSplit, read_splits
from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.objective import DenoisingObjective, DigitBatch, LabelledObjective
from hw2.diffusion.schedule import linear_schedule
from hw2.digits.ddpm_training import NUM_HELD_OUT, ddpm_training, find_init, held_out_loss
from hw2.errors import CheckpointError, ConfigError
from hw2.fixed_noise import FixedNoiseLoss
from hw2.locate import FINAL
from hw2.models.digit_unet import build_digit_unet
from hw2.settings.data import DataConfig
from hw2.settings.digits import DiffusionConfig, NetworkConfig, TrainDdpmConfig
from hw2.settings.training import TrainConfig
from hw2.training import train
from tests.diffusion.toy import Says


class Seen(DenoisingObjective):
    """An objective that keeps what it is given."""

    def __init__(self) -> None:
        self.digits: list[int] = []
        self.domains: list[int] = []

    def errors(self, net: nn.Module, batch: DigitBatch, random: CounterRandom) -> Tensor:
        self.digits += batch.digit.tolist()
        self.domains += batch.domain.tolist()
        return torch.ones(len(batch.digit))


def seen(num_val: int, seed: int = 0) -> Seen:
    """Of a val split with labels in the order of prepare_data's tables."""
    digits, domains = (torch.arange(num_val) % 10).repeat(2), torch.arange(2 * num_val) // num_val
    images = torch.zeros(2 * num_val, 3, 1, 1, dtype=torch.uint8)
    objective = Seen()
    loss = held_out_loss(objective, DigitSplit(images, digits, domains, "", ()), seed)
    assert loss(nn.Linear(1, 1)) == {"eval/loss": 1.0}
    return objective


@pytest.mark.parametrize("num_val", [500, 600, 1100, 1500, 2000, 2560])
def test_all_digits_of_both_domains_are_measured_on(num_val: int) -> None:
    found = seen(num_val)
    assert len(found.digits) == NUM_HELD_OUT
    assert all(found.digits.count(digit) > NUM_HELD_OUT / 20 for digit in range(10))
    assert all(found.domains.count(domain) > NUM_HELD_OUT / 3 for domain in range(2))
    assert vars(seen(num_val, seed=1)) == vars(found)


def test_a_small_split_is_measured_on_whole() -> None:
    assert seen(20).digits == [*range(10)] * 4


def test_each_picture_has_its_own_noise_and_counts_alike() -> None:
    """Of 200, those of the second part count as much as the others."""
    objective, images = DenoisingObjective(linear_schedule(100)), torch.zeros(200, 3, 1, 1)
    images[128:] = 255
    digits = torch.arange(200) % 10
    split = DigitSplit(images.to(torch.uint8), digits, digits // 5, "", ())
    with torch.no_grad():
        found = held_out_loss(objective, split, 3)(Says())["eval/loss"]
        batch = DigitBatch(split.images, split.digits, split.domains)
        whole, _ = objective(Says(), batch, CounterRandom(3, 0, range(200)))
    assert found == pytest.approx(float(whole), rel=1e-5)


def test_a_training_is_what_its_settings_say(digits_tree: Path, tmp_path: Path) -> None:
    config = TrainDdpmConfig(
        out=tmp_path,
        seed=6,
        network=NetworkConfig(image_size=14, patch=2, channels=(64,), attention=(False,)),
        diffusion=DiffusionConfig(
            num_train_timesteps=70,
            schedule="linear",
            prediction_type="epsilon",
            label_dropout=0.3,
            drop="separate",
            min_snr_gamma=2.0,
            timesteps="uniform",
        ),
        data=DataConfig(root=digits_tree, cache=tmp_path),
        train=TrainConfig(num_steps=1, batch_size=4),
    )
    training = ddpm_training(config, tmp_path)
    fresh = build_digit_unet(config.network, 6).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in training.net.state_dict().items())
    objective = training.objective
    assert isinstance(objective, LabelledObjective)
    assert torch.equal(objective.schedule.betas, linear_schedule(70).betas)
    asked = config.diffusion.model_dump(exclude={"num_train_timesteps", "schedule"})
    assert asked | {"snr_floor": 0.0, "null_digit": 10, "null_domain": 2} == {
        key: value for key, value in vars(objective).items() if key != "schedule"
    }
    train, val = read_splits(config.data, 14).values()
    own, want = (of.batch(2, (0, 3), 4) for of in (training.source, Shuffled(train.whole, 6)))
    assert all(map(torch.equal, own, want)) and own.images.shape == (2, 3, 14, 14)
    measured = training.evaluate
    assert isinstance(measured, FixedNoiseLoss) and measured.objective is objective
    assert torch.equal(measured.batch.images, val.images)
    assert (training.seed, measured.seed, training.meta["seed"]) == (6, 6, 6)
    assert training.meta["data_hash"] == train.content_hash


def small(tree: Path, out: Path, **more: object) -> TrainDdpmConfig:
    """Two steps of a small network."""
    return TrainDdpmConfig(
        out=out,
        network=NetworkConfig(image_size=14, channels=(64,), attention=(False,)),
        data=DataConfig(root=tree, cache=out),
        train=TrainConfig(num_steps=2, batch_size=4),
        **more,
    )


@pytest.fixture
def trained(digits_tree: Path, tmp_path: Path) -> Path:
    out = tmp_path / "first"
    out.mkdir()
    assert list(train(ddpm_training(small(digits_tree, out), out)))
    return out


def test_a_training_begins_with_the_averaged_weights_that_it_is_given(
    digits_tree: Path, trained: Path
) -> None:
    config = small(digits_tree, trained, init=str(trained), seed=1)
    init = find_init(config)
    assert init == trained / FINAL
    training = ddpm_training(config, trained, init)
    with safe_open(trained / FINAL, "pt") as file:
        for name, value in training.net.state_dict().items():
            assert torch.equal(value, file.get_tensor(f"ema.{name}"))
            assert value.ndim < 2 or not torch.equal(value, file.get_tensor(f"net.{name}"))
    assert all(p.requires_grad for p in training.net.parameters())
    # A folder that was begun with others is not gone on with.
    assert training.meta["init"] == hashlib.sha256(init.read_bytes()).hexdigest()
    assert "init" not in ddpm_training(config, trained).meta


def test_weights_of_another_network_are_refused_and_of_another_process_told(
    digits_tree: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(digits_tree, trained, init=str(trained))
    wider = config.model_copy(update={"network": NetworkConfig(image_size=14, scale_shift=True)})
    with pytest.raises(ConfigError, match=re.escape("(network.channels: ")) as refusal:
        find_init(wider)
    assert "; network.scale_shift: false there, true here): give the training" in str(refusal.value)
    assert capsys.readouterr().err == ""
    process = DiffusionConfig(schedule="linear", prediction_type="epsilon", label_dropout=0.5)
    find_init(config.model_copy(update={"diffusion": process}))
    assert capsys.readouterr().err == (
        f"warning: init={trained}: of another process (diffusion.schedule: cosine there, linear "
        "here; diffusion.prediction_type: v_prediction there, epsilon here)\n"
    )
    with pytest.raises(CheckpointError, match=r"^init=asset:digit: no such"):
        find_init(small(digits_tree, trained, init="asset:digit"))
    with pytest.raises(CheckpointError, match="holds no digit model"):
        find_init(small(digits_tree, trained, init="asset:faces"))
