"""Memory: the C library's, kept between batches; a GPU's, when it is too small."""

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator

from hw2.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST = 2**31 - 1
OTHER = "free it of other programs, take another, or give --scaling.use_gpu false"
# Of CUDA, cuBLAS and cuDNN, which ask for memory without torch's allocator: the first use of a GPU
# that others have filled ends so.
_FULL = re.compile(r"CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_\w*ALLOC\w*_FAILED")


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next batch or step to use.

    glibc gives large blocks back to the system at once, and each batch then waits until the system
    has filled its pages with zeros again: a sixth of the time of a ViT-B-32 on two cores. The peak
    stays about what it is. Where the C library is another, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 2**30)
    mallopt(M_TRIM_THRESHOLD, LARGEST)


def fills_gpu(error: BaseException) -> bool:
    """Whether `error` says that a GPU has too little memory."""
    torch = sys.modules.get("torch")  # not imported for this
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or _FULL.search(str(error)) is not None


@contextlib.contextmanager
def room_on_gpu(way_out: str) -> Iterator[None]:
    """Turns running out of a GPU's memory in the block into a ConfigError with `way_out`."""
    try:
        yield
    except RuntimeError as error:
        if not fills_gpu(error):
            raise
        raise ConfigError(f"the GPU has too little memory for this: {way_out}") from error
