"""Which pictures are equal: among what students handed in, and to real ones."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from hw2.digits.judging import JUDGE_SIZE
from hw2.digits.reading import read_splits
from hw2.disclosure import warn
from hw2.domains import DOMAINS
from hw2.errors import DataError
from hw2.settings.data import DataConfig


def picture_sum(pixels: np.ndarray) -> str:
    """Of a picture (h, w, 3), uint8: equal for equal ones alone."""
    return hashlib.sha256(f"{pixels.shape[1]} ".encode() + pixels.tobytes()).hexdigest()[:32]


def shared_sums(sums: Iterable[Iterable[str]]) -> set[str]:
    """Of the sums of each student's pictures those that more than one has."""
    owners = Counter(chain.from_iterable(map(set, sums)))
    return {one for one, count in owners.items() if one and count > 1}


def real_sums(tree: Path | None) -> dict[str, str]:
    """The sums of the digits of a data tree, and where each lies; none without a tree.

    Raises DataError for a folder that is no such tree, or a broken one.
    """
    if tree is None:
        return {}
    if not (tree / "digits").is_dir():
        raise DataError(
            f"copies_of={tree}: has no folder digits: give a tree such as hw2_data, or make one "
            "with `python -m jobs.prepare_data`"
        )
    found: dict[str, str] = {}
    splits = read_splits(DataConfig(root=tree, skip_bad=True), JUDGE_SIZE, progress=True)
    for name, split in splits.items():
        if split.bad:
            first, more = split.bad[0], len(split.bad) - 1
            warn(f"copies_of={tree}: {first}{f'; and {more} more' * (more > 0)}: passed over")
        pictures = split.images.movedim(1, -1).contiguous().numpy()
        for pixels, domain in zip(pictures, split.domains.tolist(), strict=True):
            found.setdefault(picture_sum(pixels), f"{tree}: {DOMAINS[domain]}, {name}")
    return found
