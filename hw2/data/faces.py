"""Reading the face part of a data tree."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from hw2.data.files import inside
from hw2.data.images import SUFFIXES, decode
from hw2.data.tables import BadRow, left_out
from hw2.errors import DataError
from hw2.pixels import stacked


@dataclass(frozen=True)
class PictureSet:
    """Pictures without labels, 0..255, in the order of their names.

    `content_hash` is the sha256 over the decoded pixels; `bad` are the pictures that were left out.
    """

    images: UInt8[Tensor, "n 3 h w"]
    content_hash: str
    bad: tuple[BadRow, ...] = ()


def face_folder(root: Path) -> Path:
    """The face part of the data tree at `root`."""
    return root / "face"


def real_folder(root: Path) -> Path:
    """Real faces of the offline tree, beside what the course gives."""
    return face_folder(root) / "real"


def read_pictures(
    folder: Path, image_size: int | None = None, skip_bad: bool | None = None
) -> PictureSet:
    """All pictures of a folder, as they are (all of one size then) or square of `image_size`.

    Hidden files are passed over. Raises DataError for a folder that is missing or without a good
    picture, sizes that differ, and, unless `skip_bad` leaves it out, a picture that cannot be
    decoded (which names it). None: no setting of the caller would.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder of pictures: name another, "
            "or run `python -m jobs.prepare_data`"
        )
    paths = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder}: holds no pictures ({', '.join(SUFFIXES)})")
    pictures: list[np.ndarray] = []
    bad: list[BadRow] = []
    for path in paths:
        try:
            if path.is_symlink() and not inside(path, folder):
                raise DataError("it leaves the folder by a link")
            pictures.append(decode(path, image_size))
        except DataError as error:
            bad.append(left_out(BadRow(str(path), 0, str(error)), skip_bad))
            continue
        if pictures[-1].shape != pictures[0].shape:
            height, width = pictures[-1].shape[:2]
            raise DataError(
                f"{path} is {width}x{height}, {paths[0].name} is "
                f"{pictures[0].shape[1]}x{pictures[0].shape[0]}: want one size"
            )
    if not pictures:
        first = f"{bad[0].file} ({bad[0].reason})"
        raise DataError(f"{folder}: none of {len(bad)} pictures is usable, the first {first}")
    images = stacked(pictures)
    return PictureSet(images, hashlib.sha256(images.numpy().tobytes()).hexdigest(), tuple(bad))
