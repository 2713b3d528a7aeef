"""Reading back what a job has drawn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from hw2.data.images import check_sums, decode
from hw2.errors import DataError
from hw2.pixels import stacked


def read_made(paths: Sequence[Path]) -> UInt8[Tensor, "n 3 h w"]:
    """Pictures that a job has drawn, all of the first one's size.

    Raises DataError for one that was spoilt since.
    """
    images: list[np.ndarray] = []
    for path in paths:
        try:
            check_sums(path)
            images.append(decode(path))
            if images[-1].shape != images[0].shape:
                sizes = ("x".join(map(str, of.shape[1::-1])) for of in (images[-1], images[0]))
                raise DataError(f"it has {' pixels, others '.join(sizes)}")
        except DataError as error:
            raise DataError(f"{path}: {error}; delete it, and it is drawn again") from None
    return stacked(images)
