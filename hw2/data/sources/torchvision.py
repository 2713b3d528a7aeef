"""The real MNIST and SVHN, through torchvision, as a source for the tree writer."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import MNIST, SVHN

from hw2.data.layout import SPLITS, Split
from hw2.data.offline.mnistm import blend
from hw2.data.offline.rng import picture_rng
from hw2.domains import Domain
from hw2.errors import DataError

RECIPE_VERSION = 1  # raise it whenever the bytes of any picture change

Arrays = tuple[np.ndarray, np.ndarray]  # pictures uint8 (N, H, W) or (N, H, W, 3), digits (N,)


@dataclass(frozen=True)
class TorchvisionSource:
    """SVHN as it is, and MNIST-M made from MNIST; their test sets become the val splits.

    Args:
        seed: 0 <= seed < 2**64; decides the photo patches behind the MNIST digits.
        num_train: at most this many train pictures a domain, the first ones.
        num_val: at most this many val pictures a domain, the first ones.
        cache: holds MNIST/raw/* and SVHN/*.mat, or receives them.
    """

    seed: int
    num_train: int
    num_val: int
    cache: Path
    name: str = "torchvision"

    def recipe(self) -> dict[str, int | str]:
        """All that decides the bytes of the tree."""
        return {
            "recipe": RECIPE_VERSION,
            "seed": self.seed,
            "num_train": self.num_train,
            "num_val": self.num_val,
        }

    def labels(self, domain: Domain, split: Split) -> np.ndarray:
        """The digits of a split, int64 (N,).

        Raises:
            DataError: the set is not in the cache and cannot be downloaded, or is broken.
        """
        return self._arrays(domain, split)[1]

    def picture(self, domain: Domain, split: Split, index: int) -> np.ndarray:
        """One picture, uint8 (28, 28, 3)."""
        drawn = self._arrays(domain, split)[0][index]
        if domain == "mnistm":
            return blend(picture_rng(self.seed, domain, split, index), split, drawn)
        return np.asarray(Image.fromarray(drawn).resize((28, 28), Image.Resampling.BILINEAR))

    def _arrays(self, domain: Domain, split: Split) -> Arrays:
        sets = self._mnist if domain == "mnistm" else self._svhn
        pictures, digits = sets[SPLITS.index(split)]
        count = self.num_train if split == "train" else self.num_val
        return pictures[:count], digits[:count]

    @cached_property
    def _mnist(self) -> list[Arrays]:
        try:
            sets = [MNIST(self.cache, train=split == "train", download=True) for split in SPLITS]
        except Exception as error:  # network, archive and parser each raise their own kinds
            raise self._missing("MNIST", "MNIST/raw", error) from error
        return [(found.data.numpy(), found.targets.numpy()) for found in sets]

    @cached_property
    def _svhn(self) -> list[Arrays]:
        try:
            sets = [SVHN(self.cache / "SVHN", split, download=True) for split in ("train", "test")]
        except Exception as error:  # as above
            raise self._missing("SVHN", "SVHN", error) from error
        return [(np.ascontiguousarray(of.data.transpose(0, 2, 3, 1)), of.labels) for of in sets]

    def _missing(self, what: str, where: str, error: Exception) -> DataError:
        return DataError(
            f"{what} cannot be read ({type(error).__name__}): check the network, put its files "
            f"into {self.cache / where}, or take --source offline"
        )


make = TorchvisionSource
