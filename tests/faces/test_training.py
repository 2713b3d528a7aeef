"""What a face training minimises, and is measured by."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from torch.testing import assert_close

from hw2.data.batches import Shuffled
from hw2.data.faces import real_folder
from hw2.data.files import sha256_of
from hw2.data.offline.faces import face_picture
from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.objective import DenoisingObjective, PictureBatch
from hw2.diffusion.schedule import linear_schedule
from hw2.errors import CheckpointError, ConfigError
from hw2.faces.training import PART, face_objective, face_training, find_init, read_faces
from hw2.fixed_noise import FixedNoiseLoss
from hw2.models.course_unet import to_course
from hw2.models.face_unet import build_face_unet
from hw2.settings.data import DataConfig
from hw2.settings.faces import FaceNetworkConfig, FaceObjectiveConfig, TrainFacesConfig
from hw2.settings.training import TrainConfig
from tests.diffusion.toy import Says


def test_each_picture_counts_alike_also_in_a_part_of_one() -> None:
    objective, net, count = DenoisingObjective(linear_schedule(100)), Says(), PART + 1
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
    batch = PictureBatch(images)
    found = FixedNoiseLoss(objective, batch, 3, PART)(net)["eval/loss"]
    whole, _ = objective(net, batch, CounterRandom(3, 0, range(count)))
    assert found == pytest.approx(float(whole.detach()), rel=1e-5)


def test_weights_are_those_of_the_settings_over_the_course_s_process() -> None:
    asked = FaceObjectiveConfig(min_snr_gamma=4.0, snr_floor=0.1, timesteps="importance")
    train = TrainConfig(num_steps=1, batch_size=1)
    found = face_objective(TrainFacesConfig(out=Path("unused"), objective=asked, train=train))
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    snr = alpha_bar / (1 - alpha_bar)
    assert_close(found.weights.numpy(), np.clip(snr, 0.1, 4.0) / snr)
    assert found.timesteps == "importance"


def test_a_training_is_what_its_settings_say(tmp_path: Path) -> None:
    folder = real_folder(tmp_path)
    folder.mkdir(parents=True)
    for index in range(5):
        Image.fromarray(face_picture(0, index)).save(folder / f"{index}.png")
    config = TrainFacesConfig(
        out=tmp_path,
        seed=6,
        data=DataConfig(root=tmp_path),
        train=TrainConfig(num_steps=1, batch_size=4),
    )
    training, pictures = face_training(config, tmp_path), read_faces(config)
    fresh = build_face_unet(config.network.channels, 6).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in training.net.state_dict().items())
    sources = training.source, Shuffled(PictureBatch(pictures.images), 6)
    own, want = (source.batch(2, (0, 3), 4) for source in sources)
    assert torch.equal(own.images, want.images)
    measured = training.evaluate
    assert isinstance(measured, FixedNoiseLoss)
    assert measured.objective.weights.equal(face_objective(config).weights)
    assert torch.equal(measured.batch.images, pictures.images)
    assert (training.seed, measured.seed, training.meta["seed"]) == (6, 6, 6)
    assert training.meta["data_hash"] == pictures.content_hash


def test_a_training_begins_with_the_faces_weights_that_it_is_given(tmp_path: Path) -> None:
    """Here the course's file; any that jobs.sample_faces draws from will do."""
    widths = (64, 64, 96, 64, 64, 64)
    given = build_face_unet(widths, 5)
    torch.save(to_course(given), tmp_path / "UNet.pt")
    folder = real_folder(tmp_path)
    folder.mkdir(parents=True)
    Image.fromarray(face_picture(0, 0)).save(folder / "0.png")
    config = TrainFacesConfig(
        out=tmp_path,
        init=str(tmp_path / "UNet.pt"),
        network=FaceNetworkConfig(channels=widths),
        data=DataConfig(root=tmp_path),
        train=TrainConfig(num_steps=1, batch_size=1),
    )
    training = face_training(config, tmp_path, find_init(config))
    found = training.net.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in given.state_dict().items())
    assert training.meta["init"] == sha256_of(tmp_path / "UNet.pt")
    assert "init" not in face_training(config, tmp_path).meta

    fresh = config.model_copy(update={"network": FaceNetworkConfig()})
    with pytest.raises(ConfigError, match=r"64,64: give --network\.channels 64,64,96,64"):
        find_init(fresh)
    with pytest.raises(CheckpointError, match=r"^init=.*none\.pt: no such file"):
        find_init(config.model_copy(update={"init": str(tmp_path / "none.pt")}))
    unet = UNet2DModel(
        block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
    )
    unet.save_pretrained(tmp_path / "theirs")
    with pytest.raises(ConfigError, match="another network than the course's face network"):
        find_init(config.model_copy(update={"init": str(tmp_path / "theirs")}))
