"""Drawn faces against given ones, on the course's scale."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from hw2.data.images import decode_named
from hw2.data.noises import Noises, noise_files
from hw2.errors import DataError
from hw2.pixels import stacked

SHOWN = 3


def ground_truth_folder(noise: Path, gt: Path | None) -> Path | None:
    """The folder of given pictures: `gt`, or GT beside the noises if it is there.

    Raises DataError if `gt` is missing, or has a picture for none of the noises.
    """
    if gt is not None:
        if not gt.is_dir():
            raise DataError(f"gt={gt}: no such folder; leave it out to compare with nothing")
        wanted = [f"{path.stem}.png" for path in noise_files(noise)]
        if not any((gt / name).exists() for name in wanted):
            raise DataError(
                f"gt={gt}: holds none of {', '.join(wanted[:SHOWN])}, ..; leave it out to compare "
                "with nothing"
            )
        return gt
    beside = noise.parent / "GT"
    return beside if beside.is_dir() else None


def read_ground_truth(folder: Path, noises: Noises) -> dict[str, UInt8[Tensor, "3 h w"]]:
    """The given picture of each noise that has one, by name.

    Raises DataError for a picture that cannot be decoded or has another size than the noises.
    """
    found: dict[str, Tensor] = {}
    sides = tuple(noises.noises.shape[-2:])
    for name in noises.names:
        path = folder / f"{name}.png"
        if not path.exists():
            continue
        pixels = decode_named(path)
        if pixels.shape[:2] != sides:
            height, width = pixels.shape[:2]
            raise DataError(f"{path} is {width}x{height}, its noise {sides[1]}x{sides[0]}")
        found[name] = stacked([pixels])[0]
    return found


def content_hash(truth: Mapping[str, UInt8[Tensor, "3 h w"]]) -> str:
    """sha256 of the given pictures, in the order of their noises."""
    digest = hashlib.sha256()
    for name, picture in truth.items():
        digest.update(f"{name}\0".encode() + picture.contiguous().numpy().tobytes())
    return digest.hexdigest()


def squared_error(
    images: UInt8[Tensor, "n 3 h w"], truth: UInt8[Tensor, "n 3 h w"]
) -> Float[Tensor, " n"]:
    """Mean squared error of each picture on the scale 0..255."""
    return (images.double() - truth.double()).square().flatten(1).mean(1)
