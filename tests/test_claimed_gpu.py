"""A training step and a drawing on tensors that claim to be on a GPU: all that meet are there.

They hold no numbers: to read one fails, so that the first place that waits for the GPU is seen. No
gradient flows backwards, which would want a driver.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from hw2.clip.contrastive import ContrastiveObjective
from hw2.data.batches import CaptionBatch, Shuffled
from hw2.diffusion.counter import DeviceRandom, Stream
from hw2.diffusion.objective import DenoisingObjective, DigitBatch, LabelledObjective, PictureBatch
from hw2.diffusion.schedule import linear_schedule
from hw2.digits.drawing import digit_model, draw
from hw2.faces.drawing import draw_faces
from hw2.faces.loading import FaceModel
from hw2.fixed_noise import FixedNoiseLoss
from hw2.gradients import Objective, Place
from hw2.models.clip import build_clip
from hw2.models.digit_unet import build_digit_unet
from hw2.models.face_unet import build_face_unet
from hw2.models.text2image import (
    Text2Image,
    build_autoencoder,
    build_latent_unet,
    build_text_encoder,
)
from hw2.settings.digits import DiffusionConfig, NetworkConfig, SampleSettings
from hw2.settings.faces import FaceSampling
from hw2.settings.text2image import AutoencoderConfig, LatentUNetConfig, TextEncoderConfig
from hw2.settings.training import TrainConfig
from hw2.text2image.autoencoding import Autoencoding, AutoencodingObjective
from hw2.text2image.denoising import LatentBatch, LatentObjective
from hw2.training import Training, train

GPU, COUNT, STEPS = torch.device("cuda"), 4, 2
SCHEDULE = linear_schedule(10)
Made = tuple[nn.Module, Objective, Any]


def pictures(side: int) -> Tensor:
    return torch.zeros(COUNT, 3, side, side, dtype=torch.uint8)


def numbers(*shape: int) -> Tensor:
    return torch.zeros(COUNT, *shape, dtype=torch.int64)


def digits() -> Made:
    objective = LabelledObjective(SCHEDULE, "v_prediction", 5.0, "importance", drop="separate")
    return build_digit_unet(NetworkConfig(), 0), objective, DigitBatch(pictures(28), *LABELS)


def faces() -> Made:
    return build_face_unet((32,) * 6, 0), DenoisingObjective(SCHEDULE), PictureBatch(pictures(32))


def clip() -> Made:
    size = {"layers": 1, "width": 32}
    vision = {**size, "image_size": 16, "patch_size": 8, "head_width": 32}
    text = {**size, "context_length": 8, "vocab_size": 100, "heads": 2}
    net = build_clip({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, 0)
    return net, ContrastiveObjective(COUNT), CaptionBatch(pictures(16), numbers(8), numbers())


def text2image() -> Made:
    told = TextEncoderConfig(context_length=8, width=16, layers=1, heads=2)
    unet = build_latent_unet(LatentUNetConfig(channels=(16, 16), heads=2), 4, 8, 16, 0)
    net = Text2Image(unet, build_text_encoder(told, 100, 0))
    objective = LatentObjective(SCHEDULE, caption_dropout=0.5, empty=numbers(8)[0])
    return net, objective, LatentBatch(torch.zeros(COUNT, 4, 8, 8), numbers(8), torch.ones(COUNT))


def autoencoder() -> Made:
    net = Autoencoding(build_autoencoder(AutoencoderConfig(channels=(8, 8)), 16, 0))
    return net, AutoencodingObjective((4, 8, 8), 1e-6), PictureBatch(pictures(16))


LABELS = numbers(), numbers()
# The judge looks for the pictures of each domain, and so waits for the GPU in each step.
TRAININGS = [
    digits,
    clip,
    pytest.param(autoencoder, marks=pytest.mark.slow),
    pytest.param(faces, marks=pytest.mark.slow),
    pytest.param(text2image, marks=pytest.mark.slow),
]


def _there(told: object) -> bool:
    return told.type == "cuda" if isinstance(told, torch.device) else isinstance(told, FakeTensor)


class Claimed(TorchFunctionMode):
    """In its block what is asked for on a GPU claims to be there, and whatever is made of that."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_function__(
        self, call: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        told = tree_leaves((args, kwargs := kwargs or {}))
        if any(_there(one) for one in told):
            with self.fake:
                return call(*args, **kwargs)
        return call(*args, **kwargs)


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> Claimed:
    """Such a block, in which nothing asks for a driver."""

    def there(random: DeviceRandom, stream: Stream) -> dict[str, Any]:
        return {"device": random.device}  # without a generator, which wants a driver

    monkeypatch.setattr(DeviceRandom, "_there", there)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **told: True)
    return Claimed()


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("make", TRAININGS)
def test_a_training_mixes_no_devices_and_waits_for_no_number_before_its_row(
    make: Callable[[], Made], claimed: Claimed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, objective, batch = make()
    losses: list[Tensor] = []

    def backward(loss: Tensor) -> None:
        losses.append(loss)
        for weight in net.parameters():
            weight.grad = torch.zeros_like(weight)

    monkeypatch.setattr(Tensor, "backward", backward)
    config = TrainConfig(num_steps=STEPS, batch_size=COUNT, log_every=STEPS, precision="auto")
    training = Training(net, objective, Shuffled(batch, 0), config, 0, tmp_path)
    with claimed, pytest.raises(DataDependentOutputException) as row:
        list(train(training, Place(device=GPU)))
    assert row.traceback[1].name == "train"  # itself, not what it calls: the norm of the row
    assert len(losses) == STEPS
    assert {(loss.device.type, loss.dtype) for loss in losses} == {("cuda", torch.float32)}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp", "unipc"])
def test_digits_are_drawn_on_one_device(sampler: str, claimed: Claimed) -> None:
    net = build_digit_unet(NetworkConfig(), 0)
    eta, count = (1.0, 3) if sampler == "ddim" else (0.0, 10 if sampler == "ddpm" else 3)
    settings = SampleSettings(sampler=sampler, num_inference_steps=count, eta=eta, precision="bf16")
    with claimed, pytest.raises(DataDependentOutputException) as end:
        model = digit_model(net, DiffusionConfig(num_train_timesteps=10)).to(GPU)
        draw(model, settings, domain=0, indices=[1], seed=0)
    assert any(entry.name == "refuse_undrawn" for entry in end.traceback)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_faces_are_drawn_on_one_device(claimed: Claimed) -> None:
    net, objective, batch = faces()
    settings, start = FaceSampling(num_inference_steps=2), torch.zeros(COUNT, 3, 32, 32)
    fixed = FixedNoiseLoss(objective, batch, 0, 2)
    with claimed:
        model = FaceModel(net).to(GPU)
        with pytest.raises(DataDependentOutputException) as end:
            draw_faces(model, start, settings, eta=1.0, seed=0, indices=range(COUNT))
        assert fixed.errors(model.net).device.type == "cpu"
    assert any(entry.name == "refuse_undrawn" for entry in end.traceback)
