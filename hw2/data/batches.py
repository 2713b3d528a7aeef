"""Training batches out of pictures held in memory."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hw2.data.digits import DigitSplit
from hw2.diffusion.counter import permutation
from hw2.diffusion.objective import DigitBatch, PictureBatch


class Epochs:
    """Shuffled epochs: position p of the training is sample p mod N of epoch p // N.

    Which sample that is depends on (seed, p) alone, so that a restart needs no state.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._orders: dict[int, np.ndarray] = {}

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            # A batch may straddle two epochs, never more than the last few are asked for.
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            self._orders[epoch] = permutation(self.seed, epoch, self.size)
        return self._orders[epoch]

    def index(self, step: int, samples: Sequence[int], batch_size: int) -> Int64[Tensor, " b"]:
        """Which samples stand at positions `samples` of step `step` (from 1)."""
        places = (step - 1) * batch_size + np.asarray(samples, dtype=np.int64)
        epochs = places // self.size
        index = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            there = epochs == epoch
            index[there] = self._order(epoch)[places[there] - epoch * self.size]
        return torch.from_numpy(index)


class DigitSource:
    """Batches of a split of the digits."""

    def __init__(self, split: DigitSplit, seed: int) -> None:
        self.split, self.epochs = split, Epochs(len(split.digits), seed)

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> DigitBatch:
        """The pictures at positions `samples` of step `step` (from 1)."""
        index, split = self.epochs.index(step, samples, batch_size), self.split
        return DigitBatch(split.images[index], split.digits[index], split.domains[index])


class PictureSource:
    """Batches of pictures without labels."""

    def __init__(self, images: UInt8[Tensor, "n 3 h w"], seed: int) -> None:
        self.images, self.epochs = images, Epochs(len(images), seed)

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> PictureBatch:
        """The pictures at positions `samples` of step `step` (from 1)."""
        return PictureBatch(self.images[self.epochs.index(step, samples, batch_size)])


class CaptionBatch(NamedTuple):
    """Pictures and their tokenised captions; equal captions have the same number."""

    images: UInt8[Tensor, "b 3 h w"]
    tokens: Int64[Tensor, "b context"]
    captions: Int64[Tensor, " b"]


class CaptionSource:
    """Batches of pictures with captions."""

    def __init__(
        self, images: UInt8[Tensor, "n 3 h w"], tokens: Int64[Tensor, "n context"], seed: int
    ) -> None:
        self.images, self.tokens, self.epochs = images, tokens, Epochs(len(images), seed)
        self.captions = tokens.unique(dim=0, return_inverse=True)[1]

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> CaptionBatch:
        """The pictures at positions `samples` of step `step` (from 1)."""
        index = self.epochs.index(step, samples, batch_size)
        return CaptionBatch(self.images[index], self.tokens[index], self.captions[index])
