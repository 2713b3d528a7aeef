"""The loss against NumPy; encoding and decoding in parts, fewer where pictures are larger."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.objective import PictureBatch
from hw2.models.text2image import build_autoencoder
from hw2.settings.text2image import AutoencoderConfig
from hw2.text2image.autoencoding import AutoencodingObjective, decode, encode


def test_loss_is_that_of_pixels_steps_mean_colours_and_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 3, 16, 24), generator=generator, dtype=torch.uint8)
    drawn = torch.randn(2, 3, 16, 24, generator=generator)
    mean, logvar = torch.randn(2, 2, 4, 8, 12, generator=generator)

    class Says(nn.Module):
        def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return drawn, mean, logvar

    objective = AutoencodingObjective((4, 8, 12), kl_weight=0.01)
    loss, told = objective(Says(), PictureBatch(images), CounterRandom(0, 1, range(2)))

    off = drawn.double().numpy() - (images.double().numpy() / 127.5 - 1)
    pixels = np.abs(off).mean()
    steps = sum(np.abs(np.diff(off, axis=axis)).mean() for axis in (2, 3))
    colours = np.abs(off.reshape(2, 3, 2, 8, 3, 8).mean((3, 5))).mean()
    latents = Normal(mean.double(), logvar.double().exp().sqrt())
    divergence = float(kl_divergence(latents, Normal(0.0, 1.0)).sum()) / 2
    assert float(told["absolute_error"]) == pytest.approx(pixels, rel=1e-5)
    assert float(told["divergence"]) == pytest.approx(divergence, rel=1e-5)
    whole = pixels + steps + 4 * colours + 0.01 * divergence
    assert float(loss) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("side", "parts"), [(16, [50, 2]), (64, [50, 2]), (128, [12, 1]), (256, [3, 1])]
)
def test_larger_pictures_go_in_smaller_parts(
    side: int, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = build_autoencoder(AutoencoderConfig(channels=(8, 8)), side, 0).eval()
    seen: list[int] = []

    def counted(name: str) -> None:
        call = getattr(vae, name)

        def told(given: Tensor) -> object:
            seen.append(len(given))
            return call(given)

        monkeypatch.setattr(vae, name, told)

    counted("encode")
    counted("decode")
    generator = torch.Generator().manual_seed(0)
    shape = (sum(parts), 3, side, side)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    told: list[int] = []
    latents = encode(vae, pictures, told.append)
    drawn = decode(vae, latents)
    assert seen == parts * 2 and told == parts
    assert latents.shape == (sum(parts), 4, side // 2, side // 2) and drawn.shape == shape
    torch.testing.assert_close(latents[-1:], encode(vae, pictures[-1:]))
    torch.testing.assert_close(drawn[-1:], decode(vae, latents[-1:]))


def test_a_picture_above_the_limit_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw2.text2image.autoencoding.PIXELS_AT_ONCE", 100)
    vae = build_autoencoder(AutoencoderConfig(channels=(8, 8)), 16, 0).eval()
    latents = encode(vae, torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    assert latents.shape == (2, 4, 8, 8) and decode(vae, latents).shape == (2, 3, 16, 16)
