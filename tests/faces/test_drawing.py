"""Drawing from given noises: diffusers' trajectories, fresh noise, bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.utils import save_image

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import ConfigError
from hw2.faces.drawing import draw_faces, to_bytes, visited
from hw2.faces.loading import FaceModel
from hw2.settings.faces import FaceSampling

START = CounterRandom(3, 0, range(4)).normal(Stream.START, 3, 32, 32)


class Smooth(nn.Module):
    """A network that takes some of xt for noise, the more the later; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, ...]] = []
        self.mix = nn.Conv2d(3, 3, 3, padding=1)
        generator = torch.Generator().manual_seed(0)
        for weight in self.mix.parameters():
            nn.init.normal_(weight, std=0.3, generator=generator)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        self.calls.append((xt, t))
        return torch.tanh(self.mix(xt)) * (0.2 + t.view(-1, 1, 1, 1) / 1000)


class Nothing(nn.Module):
    """Takes none of xt for noise."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(xt)


def drawn(
    settings: FaceSampling,
    rows: Sequence[int] = range(4),
    net: nn.Module | None = None,
    **more: Any,
) -> Tensor:
    arguments: dict[str, Any] = {"eta": 0.0, "seed": 0, "indices": list(rows)} | more
    return draw_faces(FaceModel(net or Smooth()), START[list(rows)], settings, **arguments)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timestep_spacing": "trailing"},
        {"steps_offset": 0},
        {"set_alpha_to_one": True},
        {"clip_x0": False},
        {"use_clipped_model_output": True},
    ],
    ids=lambda changes: next(iter(changes), "the course's"),
)
def test_equals_diffusers_setting_by_setting(eta: float, changes: dict[str, Any]) -> None:
    settings = FaceSampling(num_inference_steps=10, **changes)
    theirs = DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=settings.clip_x0,
        **settings.model_dump(include={"timestep_spacing", "steps_offset", "set_alpha_to_one"}),
    )
    theirs.set_timesteps(10)
    net, xt = Smooth(), START
    for t in theirs.timesteps:
        fresh = CounterRandom(7, int(t), [5, 6, 8, 9]).normal(Stream.ANCESTRAL, 3, 32, 32)
        xt = theirs.step(
            net(xt, t.expand(4)).detach(),
            int(t),
            xt,
            eta=eta,
            use_clipped_model_output=settings.use_clipped_model_output,
            variance_noise=fresh if eta else None,
        ).prev_sample
    ours = drawn(settings, eta=eta, seed=7, indices=[5, 6, 8, 9])
    assert_close(ours, xt, rtol=1e-4, atol=1e-4)
    assert visited(settings) == theirs.timesteps.tolist()


def test_linspace_visits_what_diffusers_does() -> None:
    # Its DDIM then steps from t to t - T/n instead, which it does not visit; ours to the next.
    theirs = DDIMScheduler(timestep_spacing="linspace")
    for count in (7, 10, 50):
        theirs.set_timesteps(count)
        settings = FaceSampling(num_inference_steps=count, timestep_spacing="linspace")
        assert visited(settings) == theirs.timesteps.tolist()


def test_the_same_again_and_another_seed() -> None:
    settings = FaceSampling(num_inference_steps=5)
    half = drawn(settings, eta=0.5)
    assert torch.equal(half, drawn(settings, eta=0.5))
    other = drawn(settings, eta=0.5, seed=1)
    assert all(not torch.equal(a, b) for a, b in zip(half, other, strict=True))
    assert torch.equal(drawn(settings), drawn(settings, seed=1))  # eta 0 draws no noise
    assert not torch.equal(drawn(settings), half)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_others_drawn_beside_it_do_not_matter(eta: float) -> None:
    settings = FaceSampling(num_inference_steps=5)
    together, alone = drawn(settings, eta=eta), drawn(settings, [2], eta=eta)
    assert_close(together[2:3], alone, rtol=0, atol=1e-5)


def test_fresh_noise_is_the_same_for_all_eta() -> None:
    # One step, from t=501 to 0: all that eta adds is its multiple of the noise.
    settings = FaceSampling(num_inference_steps=1, steps_offset=501, clip_x0=False)
    still = drawn(settings, net=Nothing())
    noise = CounterRandom(0, 501, range(4)).normal(Stream.ANCESTRAL, 3, 32, 32)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[[0, 501]]
    deviation = float(np.sqrt((1 - kept[0]) / (1 - kept[1]) * (1 - kept[1] / kept[0])))
    for eta in (0.25, 0.5, 1.0):
        added = drawn(settings, net=Nothing(), eta=eta) - still
        assert_close(added / (eta * deviation), noise, rtol=0, atol=1e-3)


def test_the_network_sees_the_noise_and_whole_timesteps() -> None:
    net = Smooth()
    end = drawn(FaceSampling(), net=net)
    assert [int(t[0]) for _, t in net.calls] == list(range(981, 0, -20))
    assert all(t.dtype == torch.int64 and t.shape == (4,) for _, t in net.calls)
    assert torch.equal(net.calls[0][0], START)
    assert end.dtype == torch.float32 and not end.requires_grad


def test_bf16_is_float32_outside_of_the_network() -> None:
    settings, net = FaceSampling(num_inference_steps=5), Smooth()
    half, full = drawn(settings, net=net, precision="bf16"), drawn(settings)
    assert {xt.dtype for xt, _ in net.calls} == {half.dtype} == {torch.float32}
    assert not torch.equal(half, full)
    assert float((half - full).square().mean().sqrt()) < 0.02


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_inference_steps": 300}, "num_inference_steps=300 does not divide num_train_times"),
        ({"num_inference_steps": 1001}, "num_inference_steps=1001: use 1 .. 1000"),
        ({"num_inference_steps": 1000}, "steps_offset=1: the first of 1000 timesteps would be"),
    ],
)
def test_impossible_timesteps(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        visited(FaceSampling(**changes))
    assert str(error.value).startswith(said)


def test_the_fixed_range_clamps() -> None:
    levels = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.7])
    pictures = levels.view(7, 1, 1, 1).expand(7, 3, 2, 2)
    found = to_bytes(pictures, "fixed")
    assert found.shape == (7, 3, 2, 2)
    assert found[:, 0, 0, 0].tolist() == [0, 0, 64, 128, 191, 255, 255]


def test_minmax_is_save_images_normalize(tmp_path: Path) -> None:
    pictures = START * torch.tensor([0.1, 0.5, 1.0, 3.0]).view(4, 1, 1, 1)
    pictures[1] += 2
    for picture, ours in zip(pictures, to_bytes(pictures, "minmax"), strict=True):
        save_image(picture, tmp_path / "theirs.png", normalize=True)
        with Image.open(tmp_path / "theirs.png") as opened:
            theirs = torch.from_numpy(np.array(opened)).movedim(-1, 0)
        assert_close(ours.int(), theirs.int(), rtol=0, atol=1)
        assert (int(ours.min()), int(ours.max())) == (0, 255)
    flat = to_bytes(torch.full((1, 3, 4, 4), 0.3), "minmax")
    assert flat.unique().tolist() == [0]


def test_pictures_that_are_no_numbers_are_not_kept() -> None:
    class Broken(nn.Module):
        def forward(self, xt: Tensor, t: Tensor) -> Tensor:
            return xt * float("nan")

    with pytest.raises(
        ConfigError, match=r"^noise: some drawn pixels are nan or infinite: take other noises"
    ):
        drawn(FaceSampling(num_inference_steps=2), net=Broken())


@pytest.mark.parametrize("indices", [[], [0], [0, 1, 2]])
def test_each_start_needs_an_index(indices: list[int]) -> None:
    with pytest.raises(ConfigError, match=f"indices: {len(indices)} for 4 noises"):
        drawn(FaceSampling(num_inference_steps=2), eta=1.0, indices=indices)


def test_one_step_that_leaves_the_noise_is_refused() -> None:
    for spacing, t in (("leading", 1), ("linspace", 0)):
        told = FaceSampling(num_inference_steps=1, timestep_spacing=spacing)
        with pytest.raises(ConfigError, match=f"^num_inference_steps=1: .* is timestep {t}, "):
            visited(told)
    assert visited(FaceSampling(num_inference_steps=1, timestep_spacing="trailing")) == [999]
