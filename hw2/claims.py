"""What a weights file says of itself, checked before a network of that size is made."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import nn

from hw2.config import Config
from hw2.disclosure import describe, one_line
from hw2.errors import CheckpointError, Hw2Error

MAX_LAYERS = 1000  # where the weights' names do not tell
MAX_NUMBER = 2**17  # in a description: channels, sides, timesteps
MAX_TENSORS = 10_000  # of a file: all of Stable Diffusion has 2,000; one takes 50 us to be read
PER_BYTE = 5  # numbers at most, of a network for each byte of its files
SHOWN = 5
SUMMED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # torch adds no float8
Shape = tuple[int, ...]

C = TypeVar("C", bound=Config)


class Claims(dict[str, Any]):
    """The metadata of the file `path`. A key that it has not is a CheckpointError."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"{self.path}: its hw2 metadata has no {key}")

    def settings(self, cls: type[C], key: str) -> C:
        """The settings at `key`. Raises CheckpointError if they are none of `cls`."""
        try:
            return cls(**self[key])
        except (TypeError, ValueError) as error:
            raise self.false(key, error) from None

    def false(self, key: str, error: Exception) -> CheckpointError:
        """The error for a value at `key` that cannot be used; `error` says why."""
        what = one_line(str(error))[:200]
        return CheckpointError(f"{self.path}: its hw2 metadata has a false {key} ({what})")


def tensor_names(path: Path, file: Any) -> list[str]:
    """The names in `file`, the open safetensors file `path`. CheckpointError for far too many."""
    names = list(file.keys())
    if len(names) > MAX_TENSORS:
        raise CheckpointError(
            f"{path}: has {len(names)} tensors, over the allowed {MAX_TENSORS}: no network has that"
        )
    return names


def is_finite(value: torch.Tensor) -> bool:
    """Whether `value` holds neither nan nor infinity.

    A finite sum proves it, in a twentieth of the time: `isfinite` makes copies of what it is given.
    """
    if value.dtype in SUMMED and value.sum().isfinite():
        return True
    return bool(value.isfinite().all())  # a sum may be too large for its type


def refuse_infinite(place: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise CheckpointError, which begins with `place`, if a weight holds nan or infinity."""
    for name, value in weights.items():
        if not value.is_meta and not is_finite(value):  # there are no numbers on "meta"
            raise CheckpointError(
                f"{place}: {name} holds nan or infinite numbers, as after a training that diverged "
                "or a torn copy: give other weights, or make these again"
            )


def refuse_false(path: Path, described: Any, build: Callable[[], nn.Module]) -> None:
    """Raise CheckpointError unless `build()` has the averaged weights, by shape, in `path`.

    Nothing of that size is made: a small file may describe a network of any size. `described` is
    what `build` is led by; it is looked through for numbers that would build for ever.
    """
    with safe_open(path, framework="pt") as file:
        names = [name for name in tensor_names(path, file) if name.startswith("ema.")]
        found = {n.removeprefix("ema."): tuple(file.get_slice(n).get_shape()) for n in names}
    refuse_misfits(str(path), found, _claimed(path, "metadata", len(found), described, build))


def refuse_larger(weights: Sequence[Path], described: Any, build: Callable[[], nn.Module]) -> None:
    """Raise CheckpointError if `build()` has over five numbers for each byte of `weights`, files.

    As `refuse_false`, for files whose names other libraries translate, or which they check.
    """
    shapes = _claimed(weights[0], "config", MAX_LAYERS, described, build).values()
    need = sum(map(math.prod, shapes))
    have = sum(path.stat().st_size for path in weights)
    if need > PER_BYTE * have:
        raise CheckpointError(
            f"{weights[0]}: its config describes a network of {need} numbers, and it has {have} "
            "bytes: the file is torn, or the config is another's: give both as they were saved"
        )


def _claimed(
    path: Path, by: str, most_layers: int, described: Any, build: Callable[[], nn.Module]
) -> dict[str, Shape]:
    """The shapes that `build()` would have, as the weights' metadata or config has it (`by`)."""
    for key, number in _numbers(described):
        if number > (most_layers if "layers" in key else MAX_NUMBER):
            raise CheckpointError(f"{path}: its {by} claims {key}={number}: no network has that")
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a width of 0
            shapes = shapes_of(build().state_dict())
    except Hw2Error as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # of whatever kind: a network made of any numbers
        what = f"its {by} describes no network ({describe(error)})"
        raise CheckpointError(f"{path}: {what}") from None
    if empty := [name for name, shape in shapes.items() if 0 in shape]:
        raise CheckpointError(f"{path}: its {by} describes a network whose {empty[0]} is empty")
    return shapes


def shapes_of(weights: Mapping[str, torch.Tensor]) -> dict[str, Shape]:
    """The shape of each, by name."""
    return {name: tuple(value.shape) for name, value in weights.items()}


def misfits(found: Mapping[str, Shape], want: Mapping[str, Shape]) -> list[str]:
    """The missing, unknown and misshapen weights, each in words."""
    wrong = [f"missing {name}" for name in want if name not in found]
    wrong += [f"unknown {name}" for name in found if name not in want]
    return wrong + [
        f"{name} is {found[name]}, want {shape}"
        for name, shape in want.items()
        if name in found and found[name] != shape
    ]


def refuse_misfits(place: str, found: Mapping[str, Shape], want: Mapping[str, Shape]) -> None:
    """Raise CheckpointError that names the first five of `misfits`."""
    if wrong := misfits(found, want):
        listed = "; ".join(wrong[:SHOWN])
        raise CheckpointError(f"{place}: {len(wrong)} weights do not fit: {listed}")


def _numbers(described: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in a description, with their keys, and the lengths of its lists as layers."""
    if isinstance(described, Mapping):
        for name, value in described.items():
            yield from _numbers(value, str(name))
    elif isinstance(described, list | tuple):
        yield "layers", len(described)
        for value in described:
            yield from _numbers(value, key)
    elif isinstance(described, int | float):
        yield key, abs(described)
