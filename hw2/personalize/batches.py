"""Training batches of concepts: few pictures, mirrored or not, under many captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hw2.data.batches import Epochs
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.text2image.denoising import LatentBatch


@dataclass(frozen=True)
class Captioned:
    """Latents of n pictures, each as it is and mirrored (one where that is not wanted).

    `tokens` are captions: one of them at random for any picture, or, where `own`, caption i for
    picture i.
    """

    latents: Float[Tensor, "n views c h w"]
    tokens: Int64[Tensor, "m k"]
    own: bool = False


class ConceptSource:
    """Batches that take the concepts in turn, and of each its pictures in shuffled epochs.

    With `priors`, every other sample is one of the pictures of the concepts' classes, and counts
    `prior_weight` times as much as a concept's (Ruiz et al. 2023, eq. 2); the mean share is 1.
    """

    def __init__(
        self,
        concepts: Sequence[Captioned],
        seed: int,
        priors: Sequence[Captioned] = (),
        prior_weight: float = 1.0,
    ) -> None:
        self.groups = [list(concepts), *([list(priors)] if priors else [])]
        self.shares = (2 / (1 + prior_weight), 2 * prior_weight / (1 + prior_weight))
        if not priors:
            self.shares = (1.0, 0.0)
        self.seed = seed
        self.epochs = [
            [Epochs(len(of.latents), seed + place) for place, of in enumerate(group)]
            for group in self.groups
        ]

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> LatentBatch:
        """The latents at positions `samples` of step `step` (from 1)."""
        latents, tokens, shares = [], [], []
        draws = CounterRandom(self.seed, step, samples)
        mirrored = draws.uniform(Stream.AUGMENT)
        captioned = draws.uniform(Stream.CAPTION)
        for place, sample in enumerate(samples):
            turn, group = divmod((step - 1) * batch_size + sample, len(self.groups))
            turn, which = divmod(turn, len(self.groups[group]))
            of = self.groups[group][which]
            picture = int(self.epochs[group][which].at(np.array([turn]))[0])
            view = int(mirrored[place] * of.latents.shape[1])
            caption = picture if of.own else int(captioned[place] * len(of.tokens))
            latents.append(of.latents[picture, view])
            tokens.append(of.tokens[caption])
            shares.append(self.shares[group])
        return LatentBatch(torch.stack(latents), torch.stack(tokens), torch.tensor(shares))
