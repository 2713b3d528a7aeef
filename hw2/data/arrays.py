"""Arrays from .npz files that may be torn or hostile."""

from pathlib import Path

import numpy as np

from hw2.data.files import unpacked_sizes
from hw2.disclosure import describe


def read_arrays(path: Path, max_bytes: int) -> dict[str, np.ndarray]:
    """The arrays in an .npz by name, of at most `max_bytes` unpacked; never pickles.

    Raises OSError; and ValueError whatever is wrong with what is in the file.
    """
    try:
        if (size := sum(size for _, size in unpacked_sizes(path))) > max_bytes:
            raise ValueError(f"{size} bytes unpacked are over the allowed {max_bytes}")
        with np.load(path, allow_pickle=False) as kept:
            arrays = dict(kept)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a file beside the arrays")
        return arrays
    except OSError:
        raise
    except Exception as error:  # zip's, its compressions' and NumPy's own kinds are open-ended
        raise ValueError(f"no whole arrays ({describe(error)})") from None
