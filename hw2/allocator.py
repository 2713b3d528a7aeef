"""Memory: the C library's, kept between batches; a GPU's, when it is too small."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

from hw2.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next batch to use.

    glibc gives large blocks back to the system at once, and each batch then waits until the system
    has filled its pages with zeros again: a sixth of the time of a ViT-B-32 on two cores. The peak
    stays what it is. Where the C library is another, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 2**30)
    mallopt(M_TRIM_THRESHOLD, LARGEST)


@contextlib.contextmanager
def room_on_gpu(way_out: str) -> Iterator[None]:
    """Turns running out of a GPU's memory in the block into a ConfigError with `way_out`."""
    try:
        yield
    except RuntimeError as error:
        torch = sys.modules.get("torch")  # not imported for this
        if torch is None or not isinstance(error, torch.OutOfMemoryError):
            raise
        raise ConfigError(f"the GPU has too little memory for this: {way_out}") from error
