"""Faces that students handed in, each compared with the given one of its name."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from hw2.data.handed_in.files import content_of
from hw2.data.handed_in.folders import HandedFolder, students_in
from hw2.data.images import SUFFIXES, decode_bytes, decode_named
from hw2.data.listing.folders import listed, names_of
from hw2.data.listing.store import Entry, Store, unusable
from hw2.disclosure import warn
from hw2.errors import DataError
from hw2.faces.ground_truth import squared_error
from hw2.figures.handed_sheets import thumbnail
from hw2.pixels import stacked
from hw2.settings.grading import GradeFacesConfig

MAX_PIXELS = 4_000_000  # a larger picture counts as unreadable
Faces = dict[str, UInt8[Tensor, "3 h w"]]


@dataclass(frozen=True)
class Compared:
    """A student's picture against the given one of the same name.

    Attributes:
        name: of the given picture, without suffix.
        file: the student's; "" if there is none.
        mse: mean squared error on 0..255; None where there is nothing to compare.
        reason: why there is not.
        thumb: the picture, small (THUMB, THUMB, 3); None where it cannot be read.
    """

    name: str
    file: str
    mse: float | None = None
    reason: str | None = None
    thumb: np.ndarray | None = None


@dataclass(frozen=True)
class FaceStudent:
    """A student's pictures in the order of the given ones, and a hash of what was read."""

    name: str
    pictures: tuple[Compared, ...]
    content_hash: str

    @property
    def errors(self) -> list[float]:
        """The errors of those that could be compared."""
        return [picture.mse for picture in self.pictures if picture.mse is not None]

    def passed(self, pass_mark: float) -> int:
        """How many pictures are nearer than `pass_mark`; a missing one is not."""
        return sum(error < pass_mark for error in self.errors)


def read_given(folder: Path) -> Faces:
    """The given pictures by name. Raises DataError if there are none or one is broken."""
    paths = sorted(folder.glob("*.png")) if folder.is_dir() else []
    if not paths:
        raise DataError(f"gt={folder}: no such folder, or no .png in it: give the course's GT")
    return {path.stem: stacked([decode_named(path)])[0] for path in paths}


def find_face_students(config: GradeFacesConfig, given: Faces) -> dict[str, HandedFolder]:
    """The students' folders by name; raises as `students_in` does."""
    shown = [f"{name}.png" for name in given]
    want = (
        f"want a student's folder with {', '.join(shown[:2])}.. in it, as in gt, or a folder whose "
        "sub-folders are such"
    )

    def has_one(entries: Sequence[Entry]) -> bool:
        return bool(_by_name(entries).keys() & given)

    return students_in(config.pictures, config.out, has_one, want)


def read_student(
    name: str, folder: HandedFolder, given: Faces, advance: Callable[[int], object]
) -> FaceStudent:
    """A student's pictures, compared; `advance` is told how many more are done."""
    digest, pictures = hashlib.sha256(), []
    for picture, content in _read(folder, given):
        digest.update(json.dumps([picture.name, picture.file, picture.reason]).encode())
        digest.update(hashlib.sha256(content).digest())
        pictures.append(_compared(picture, content, given[picture.name]))
        advance(1)
    return FaceStudent(name, tuple(pictures), digest.hexdigest())


def _by_name(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Files that end as pictures do, by name without suffix; of two the .png (or .PNG)."""
    files = [e for e in entries if not e.folder and e.name.lower().endswith(SUFFIXES)]
    return {
        Path(e.name).stem: e for e in sorted(files, key=lambda e: e.name.lower().endswith(".png"))
    }


def _read(handed: HandedFolder, given: Mapping[str, Tensor]) -> Iterator[tuple[Compared, bytes]]:
    """For each given picture the student's bytes, or the reason why there are none."""
    folder, reason = handed
    if reason is not None:
        warn(f"{folder}: {reason}")
        yield from ((Compared(name, "", reason=reason), b"") for name in given)
        return
    store, entries = Store(str(folder.absolute())), listed(folder)
    files = _by_name(entries)
    if not files.keys() & given:
        warn(f"{folder}: holds none of the pictures; found {names_of(entries)}")
    for name in given:
        if (entry := files.get(name)) is None:
            yield Compared(name, "", reason="missing"), b""
            continue
        content = unusable(entry) or content_of(store, entry.name, entry.size)
        if isinstance(content, str):
            yield Compared(name, entry.name, reason=content), b""
        else:
            yield Compared(name, entry.name), content


def _compared(picture: Compared, content: bytes, given: UInt8[Tensor, "3 h w"]) -> Compared:
    if picture.reason is not None:
        return picture
    try:
        pixels = decode_bytes(content, MAX_PIXELS)
    except DataError as error:
        return Compared(picture.name, picture.file, reason=str(error))
    found = stacked([pixels])[0]
    mse, reason = None, None
    if found.shape == given.shape:
        mse = float(squared_error(found[None], given[None]))
    else:
        (_, height, width), (_, h, w) = found.shape, given.shape
        reason = f"it is {width}x{height}, the given one {w}x{h}"
    return Compared(picture.name, picture.file, mse, reason, thumbnail(pixels))
