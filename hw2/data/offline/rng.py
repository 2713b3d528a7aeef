"""One random stream for each picture, so that neither order nor process count can matter."""

import numpy as np

from hw2.data.layout import SPLITS, Split
from hw2.domains import DOMAINS, Domain


def picture_rng(seed: int, domain: Domain, split: Split, index: int) -> np.random.Generator:
    """The generator of one picture: Philox4x64 keyed by (seed, domain, split, index).

    Args:
        seed: 0 <= seed < 2**64.
        domain: which set of pictures.
        split: which half of the set; train and val never share a stream.
        index: 0 <= index < 2**32, the picture's place in its split.
    """
    place = DOMAINS.index(domain) << 40 | SPLITS.index(split) << 32 | index
    return np.random.Generator(np.random.Philox(key=np.array([seed, place], dtype=np.uint64)))
