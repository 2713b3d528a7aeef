"""One random stream for each picture, so that neither order nor process count can matter."""

import numpy as np

from hw2.data.layout import SPLITS, Split
from hw2.domains import DOMAINS, Domain

FACES, SCENES, COMPOSITIONS = 1 << 48, 1 << 49, 1 << 50  # apart from the digits, which are below


def picture_rng(seed: int, domain: Domain, split: Split, index: int) -> np.random.Generator:
    """The generator of one picture: Philox4x64 keyed by (seed, domain, split, index).

    Args:
        seed: 0 <= seed < 2**64.
        domain: which set of pictures.
        split: which half of the set; train and val never share a stream.
        index: 0 <= index < 2**32, the picture's place in its split.
    """
    return rng_at(seed, DOMAINS.index(domain) << 40 | SPLITS.index(split) << 32 | index)


def face_rng(seed: int, index: int) -> np.random.Generator:
    """The same, keyed by (seed, index)."""
    return rng_at(seed, FACES | index)


def scene_rng(seed: int, split: Split, index: int) -> np.random.Generator:
    """The same, keyed by (seed, split, index)."""
    return rng_at(seed, SCENES | SPLITS.index(split) << 40 | index)


def composition_rng(seed: int, kind: int, index: int) -> np.random.Generator:
    """The same, keyed by (seed, kind, index)."""
    return rng_at(seed, COMPOSITIONS | kind << 40 | index)


def rng_at(seed: int, place: int) -> np.random.Generator:
    """Philox4x64 keyed by (seed, place)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, place], dtype=np.uint64)))
