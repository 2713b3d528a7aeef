"""Offline pictures of both domains as one source for the tree writer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw2.data.layout import Split
from hw2.data.offline.mnistm import mnistm_picture
from hw2.data.offline.svhn_style import svhn_style_picture
from hw2.domains import Domain

RECIPE_VERSION = 1  # raise it whenever the bytes of any picture change


@dataclass(frozen=True)
class OfflineSource:
    """Pictures made from data inside installed packages, the digits 0..9 in turn.

    Args:
        seed: 0 <= seed < 2**64; another seed, other pictures.
        num_train: train pictures a domain.
        num_val: val pictures a domain.
    """

    seed: int
    num_train: int
    num_val: int
    name: str = "offline"

    def recipe(self) -> dict[str, int | str]:
        """All that decides the bytes of the tree."""
        return {
            "recipe": RECIPE_VERSION,
            "seed": self.seed,
            "num_train": self.num_train,
            "num_val": self.num_val,
        }

    def labels(self, domain: Domain, split: Split) -> np.ndarray:
        """The digits of a split, int64 (N,), balanced to within one picture."""
        return np.arange(self.num_train if split == "train" else self.num_val) % 10

    def picture(self, domain: Domain, split: Split, index: int) -> np.ndarray:
        """One picture, uint8 (28, 28, 3)."""
        draw = mnistm_picture if domain == "mnistm" else svhn_style_picture
        return draw(self.seed, split, index)


def make(seed: int, num_train: int, num_val: int, cache: Path) -> OfflineSource:
    """The source; nothing is downloaded."""
    return OfflineSource(seed, num_train, num_val)
