"""Training batches out of a split held in memory."""

from collections.abc import Sequence

import numpy as np
import torch

from hw2.data.digits import DigitSplit
from hw2.diffusion.counter import permutation
from hw2.diffusion.objective import DigitBatch


class DigitSource:
    """Shuffled epochs over a split: position p of the training is sample p mod N of epoch p // N.

    Which picture that is depends on (seed, p) alone, so that a restart needs no state.
    """

    def __init__(self, split: DigitSplit, seed: int) -> None:
        self.split, self.seed = split, seed
        self._orders: dict[int, np.ndarray] = {}

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            # A batch may straddle two epochs, never more than the last few are asked for.
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            self._orders[epoch] = permutation(self.seed, epoch, len(self.split.digits))
        return self._orders[epoch]

    def batch(self, step: int, samples: Sequence[int], batch_size: int) -> DigitBatch:
        """The pictures at positions `samples` of step `step` (from 1)."""
        first = (step - 1) * batch_size
        places = [divmod(first + sample, len(self.split.digits)) for sample in samples]
        index = torch.tensor([int(self._order(epoch)[place]) for epoch, place in places])
        split = self.split
        return DigitBatch(split.images[index], split.digits[index], split.domains[index])
