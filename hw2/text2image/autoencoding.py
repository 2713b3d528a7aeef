"""The autoencoder's objective, and the latent pictures it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.objective import PictureBatch
from hw2.pixels import to_unit

# By pixels, since one picture of 512x512 takes Stable Diffusion a gigabyte.
PICTURES_AT_ONCE, PIXELS_AT_ONCE = 50, 50 * 64 * 64
COARSE, COARSE_WEIGHT = 8, 4.0  # side of the squares whose mean colour is compared; its share


class Autoencoding(nn.Module):
    """diffusers' autoencoder as one call: picture and noise to reconstruction and moments."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, pictures: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b c k l"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction, and mean and log variance of the latents."""
        latents = self.vae.encode(pictures).latent_dist
        sample = latents.mean + latents.std * noise
        return self.vae.decode(sample).sample, latents.mean, latents.logvar


@dataclass(frozen=True)
class AutoencodingObjective:
    """Absolute error of pixels, of steps between them, and of mean colours; a little divergence.

    Kingma & Welling 2014, eq. 10, with a Laplacian likelihood and the tiny weight of Rombach et
    al. 2022, appendix G. The steps to both neighbours stand for their perceptual loss, which needs
    weights; without the mean colours of squares, detail would use up the latents.
    """

    latent_shape: tuple[int, int, int]
    kl_weight: float

    def __call__(
        self, net: nn.Module, batch: PictureBatch, random: CounterRandom
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (a scalar); mean absolute error of pixels in [-1, 1], and divergence in nats."""
        pictures = to_unit(batch.images)
        noise = random.normal(Stream.NOISE, *self.latent_shape).to(pictures.device)
        drawn, mean, logvar = net(pictures, noise)
        drawn, mean, logvar = drawn.float(), mean.float(), logvar.float()
        pixels = F.l1_loss(drawn, pictures)
        steps = sum(F.l1_loss(drawn.diff(dim=axis), pictures.diff(dim=axis)) for axis in (2, 3))
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
        coarse = F.l1_loss(F.avg_pool2d(drawn, COARSE), F.avg_pool2d(pictures, COARSE))
        loss = pixels + steps + COARSE_WEIGHT * coarse + self.kl_weight * divergence
        return loss, {"absolute_error": pixels, "divergence": divergence}


def pictures_at_once(height: int, width: int) -> int:
    """How many of this size are encoded or decoded at once."""
    return max(1, min(PICTURES_AT_ONCE, PIXELS_AT_ONCE // (height * width)))


@torch.no_grad()
def encode(
    vae: Any,
    pictures: UInt8[Tensor, "n 3 h w"],
    advance: Callable[[int], object] = lambda count: None,
) -> Float[Tensor, "n c k l"]:
    """The means of the pictures' latents, not scaled; `advance` is told how many more are done."""
    parts = []
    for part in pictures.split(pictures_at_once(*pictures.shape[-2:])):
        parts.append(vae.encode(to_unit(part.to(vae.device))).latent_dist.mean.float())
        advance(len(part))
    return torch.cat(parts)


@torch.no_grad()
def decode(vae: Any, latents: Float[Tensor, "n c k l"]) -> Float[Tensor, "n 3 h w"]:
    """Pictures, about in [-1, 1], of latents that are not scaled."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    count = pictures_at_once(*(side * factor for side in latents.shape[-2:]))
    parts = [vae.decode(part).sample.float() for part in latents.split(count)]
    return torch.cat(parts)
