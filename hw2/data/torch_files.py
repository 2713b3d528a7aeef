"""Reading files of torch.save that may be broken or hostile."""

import errno
import re
import stat
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hw2.data.files import unpacked_sizes
from hw2.errors import DataError

MAX_PICKLE = 4 * 2**20  # a tensor is 120 bytes there, its numbers elsewhere; a MiB takes seconds
# Lightning's and the course's, torch's tutorials', and a short one, of a training's state_dict.
WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_torch(path: Path, max_bytes: int, *, mapped: bool = False) -> Any:
    """What torch.save put into `path`: tensors, and containers of them; never code.

    `mapped` leaves the tensors of a large file on the disk until they are looked at.

    Raises:
        DataError: the file is missing, not a regular file, over `max_bytes` (packed or unpacked,
            known before anything is loaded), lists tens of thousands of objects, cannot be read, is
            not a torch file, or holds objects whose making would call code. The message does not
            name the file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise DataError("the file is missing") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise DataError("it is not a regular file")
    _refuse_over(status.st_size, max_bytes)
    try:
        packed = zipfile.is_zipfile(path)  # as all since torch 1.6, which alone can be mapped
        if packed:
            sizes = unpacked_sizes(path)
            _refuse_over(sum(size for _, size in sizes), max_bytes)
            size = sum(size for name, size in sizes if name.endswith("/data.pkl"))
            if size > MAX_PICKLE:
                raise DataError(
                    f"its list of names and tensors has {size / 2**20:.0f} MiB, over the allowed "
                    f"{MAX_PICKLE / 2**20:.0f}: save the weights alone"
                )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and packed)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a torn or foreign pickle may raise anything; torch's advice
        # over several lines is to load it unsafely.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            # The system's, whatever is in the file; only a torn one has EINVAL, for a place in it.
            raise DataError(f"it cannot be read ({error.strerror})") from None
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise DataError(f"it holds {code[1]}, want nothing but tensors") from None
        raise DataError("not a torch file, or a torn one: make it with torch.save") from None


def state_in(found: Any) -> Any:
    """What of a loaded file are names and tensors: itself, or what lies below one of WRAPPERS."""
    if isinstance(found, dict):
        return next((found[name] for name in WRAPPERS if isinstance(found.get(name), dict)), found)
    return found


def unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict without what DataParallel and torch.compile, also one in the other, add.

    Nor with what names the network in a module of Lightning's.
    """
    # Before each name; in either order.
    for wrapper in ("model.", "module.", "_orig_mod.", "module."):
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state


def refuse_unusual(tensors: Iterable[Tensor], max_bytes: int) -> None:
    """Raise DataError unless all are plain tensors that together hold at most `max_bytes`.

    A file of some bytes can hold a tensor of any shape: without data, sparse, or one number
    repeated.
    """
    total = 0
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            kind = str(tensor.layout).removeprefix("torch.")
            kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else kind
            raise DataError(f"it holds a tensor of kind {kind}: save a plain one")
        total += tensor.numel() * tensor.element_size()
    _refuse_over(total, max_bytes)


def _refuse_over(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(f"{size / 2**20:.0f} MiB is over the allowed {max_bytes / 2**20:.0f} MiB")
