"""Training batches out of samples held in memory."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hw2.diffusion.counter import permutation

B = TypeVar("B", bound=Any)  # a NamedTuple of tensors, one row a sample


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

    def at(self, positions: Int64[np.ndarray, " b"]) -> Int64[Tensor, " b"]:
        """Which samples stand at `positions`, from 0."""
        epochs, within = np.divmod(positions, self.size)
        index = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            there = epochs == epoch
            index[there] = self._order(epoch)[within[there]]
        return torch.from_numpy(index)


class CaptionBatch(NamedTuple):
    """Pictures and their tokenised captions; equal captions have the same number."""

    images: UInt8[Tensor, "b 3 h w"]
    tokens: Int64[Tensor, "b context"]
    captions: Int64[Tensor, " b"]


class Shuffled(Generic[B]):
    """Batches of `whole`, the samples held in memory as one, in shuffled epochs."""

    def __init__(self, whole: B, seed: int) -> None:
        self.whole, self.epochs = whole, Epochs(len(whole[0]), seed)

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> B:
        """The samples at positions `samples` of step `step` (from 1)."""
        index = self.epochs.at((step - 1) * batch_size + np.asarray(samples, np.int64))
        return self.whole._make(field[index] for field in self.whole)
