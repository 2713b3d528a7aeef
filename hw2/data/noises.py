"""Reading given noises: `00.pt`, `01.pt`, .., one start of the reverse process each."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from hw2.data.files import inside
from hw2.data.torch_files import load_torch, refuse_unusual
from hw2.errors import ConfigError, DataError

MAX_BYTES = 64 * 2**20
SIDE = 32  # the face network halves its picture five times


@dataclass(frozen=True)
class Noises:
    """Noises in the order of their names, (n, 3, h, w); `content_hash` is the sha256 of both."""

    names: tuple[str, ...]
    noises: Float32[Tensor, "n 3 h w"]
    content_hash: str

    def items(self) -> Iterator[tuple[str, Float32[Tensor, "3 h w"]]]:
        """Each noise by its name."""
        return zip(self.names, self.noises, strict=True)

    def pick(self, names: Sequence[str]) -> list[int]:
        """Where the noises called `names` are. Raises ConfigError for a name that there is not."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ConfigError(
                f"noise {', '.join(unknown)}: there is no such; there is {', '.join(self.names)}"
            )
        return [self.names.index(name) for name in names]


def noise_files(folder: Path) -> list[Path]:
    """The noises of a folder, by name; hidden files, as of macOS, are none."""
    return sorted(folder.glob("[!.]*.pt"))


def read_noises(folder: Path) -> Noises:
    """All `noise_files` of a folder, each a float32 tensor (1, 3, h, w), of one size.

    Raises:
        DataError: the folder is missing or holds none; or a file, which it names, is no torch file,
            over 64 MiB, holds anything but one plain tensor, another dtype or shape, sides that are
            not multiples of 32, or numbers that are not finite.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder of noises: point --noise at one with 00.pt, 01.pt, .., "
            "or run `python -m jobs.prepare_data`"
        )
    paths = noise_files(folder)
    if not paths:
        raise DataError(f"{folder}: holds no noises: want 00.pt, 01.pt, ..")
    noises: list[Tensor] = []
    for path in paths:
        try:
            if path.is_symlink() and not inside(path, folder):
                raise DataError("it leaves the folder by a link")
            noises.append(_read(path))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if noises[-1].shape != noises[0].shape:
            raise DataError(
                f"{path} is {_sides(noises[-1])}, {paths[0].name} is {_sides(noises[0])}: "
                "want one size"
            )
    names = tuple(path.stem for path in paths)
    stacked = torch.cat(noises)
    digest = hashlib.sha256(repr((names, tuple(stacked.shape))).encode())
    digest.update(stacked.numpy().tobytes())
    return Noises(names, stacked, digest.hexdigest())


def _read(path: Path) -> Tensor:
    """The noise in `path`, (1, 3, h, w), or DataError, which does not name the file."""
    noise = load_torch(path, MAX_BYTES)
    if not isinstance(noise, Tensor):
        raise DataError(f"it holds {type(noise).__name__}, want a tensor")
    refuse_unusual([noise], MAX_BYTES)
    if noise.dtype != torch.float32:
        found = str(noise.dtype).removeprefix("torch.")
        raise DataError(f"its dtype is {found}, want float32: save noise.float()")
    shape = tuple(noise.shape)
    if len(shape) != 4 or shape[:2] != (1, 3):
        way = ": save noise[None]" if len(shape) == 3 and shape[0] == 3 else ""
        if len(shape) == 4 and shape[0] > 1:
            way = ": save each noise[i:i+1] in a file of its own"
        raise DataError(f"its shape is {shape}, want (1, 3, h, w){way}")
    if any(side % SIDE or not side for side in shape[2:]):
        raise DataError(f"its shape is {shape}: want sides that are multiples of {SIDE}")
    broken = int((~noise.isfinite()).sum())
    if broken:
        raise DataError(f"{broken} of its {noise.numel()} numbers are nan or infinite")
    return noise.detach()


def _sides(noise: Tensor) -> str:
    height, width = noise.shape[-2:]
    return f"{width}x{height}"
