"""The denoiser's objective in latent space."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.objective import DenoisingObjective
from hw2.diffusion.schedule import Resident
from hw2.fixed_noise import FixedNoiseLoss

# By values, since a network of Stable Diffusion's size takes much memory for 64x64 of them.
SAMPLES_AT_ONCE, VALUES_AT_ONCE = 50, 50 * 16 * 16


class LatentBatch(NamedTuple):
    """Scaled latents (b, c, h, w), tokens of their captions (b, n), how much each counts (b,)."""

    latents: Float[Tensor, "b c h w"]
    tokens: Int64[Tensor, "b n"]
    shares: Float[Tensor, " b"]


@dataclass(frozen=True)
class LatentObjective(DenoisingObjective):
    """The error of the predicted noise (or v) in latents (Rombach et al. 2022, eq. 3).

    `caption_dropout` in [0, 1] is the share of samples told `empty`, the tokens (n,) of no caption.
    """

    caption_dropout: float = 0.0
    empty: Int64[Tensor, " n"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    @cached_property
    def _empty(self) -> Resident:
        return Resident(self.empty)

    def clean(self, batch: LatentBatch) -> Tensor:
        """The latents."""
        return batch.latents

    def conditions(self, batch: LatentBatch, random: CounterRandom) -> tuple[Tensor, ...]:
        """The tokens, a share of them replaced by those of no caption."""
        if not self.caption_dropout:
            return (batch.tokens,)
        drop = random.uniform(Stream.LABEL_DROPOUT).to(batch.tokens.device) < self.caption_dropout
        empty = self._empty.on(batch.tokens.device)
        return (torch.where(drop[:, None], empty, batch.tokens),)

    def shares(self, batch: LatentBatch) -> Tensor:
        """As the batch says."""
        return batch.shares


def fixed_noise_loss(objective: LatentObjective, batch: LatentBatch, seed: int) -> FixedNoiseLoss:
    """The objective on the same latents, timesteps and noises each time it is asked."""
    height, width = batch.latents.shape[-2:]
    at_once = max(1, min(SAMPLES_AT_ONCE, VALUES_AT_ONCE // (height * width)))
    return FixedNoiseLoss(objective, batch, seed, at_once)
