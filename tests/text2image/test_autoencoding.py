"""Encoding and decoding in parts: fewer pictures at once where they are larger."""

import pytest
import torch
from torch import Tensor

from hw2.models.text2image import build_autoencoder
from hw2.settings.text2image import AutoencoderConfig
from hw2.text2image.autoencoding import decode, encode


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
    latents = encode(vae, pictures)
    drawn = decode(vae, latents)
    assert seen == parts * 2
    assert latents.shape == (sum(parts), 4, side // 2, side // 2) and drawn.shape == shape
    torch.testing.assert_close(latents[-1:], encode(vae, pictures[-1:]))
    torch.testing.assert_close(drawn[-1:], decode(vae, latents[-1:]))


def test_a_picture_above_the_limit_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw2.text2image.autoencoding.PIXELS_AT_ONCE", 100)
    vae = build_autoencoder(AutoencoderConfig(channels=(8, 8)), 16, 0).eval()
    latents = encode(vae, torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    assert latents.shape == (2, 4, 8, 8) and decode(vae, latents).shape == (2, 3, 16, 16)
