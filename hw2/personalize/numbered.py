"""A prompt's pictures by the number of their noise: found by the course's names, and checked."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from hw2.data.files import inside
from hw2.data.images import SUFFIXES, decode_named
from hw2.disclosure import warn
from hw2.errors import DataError

SHOWN = 5  # names in a message
Numbered = dict[int, Path]  # a prompt's pictures by the number of their noise, in its order


def asked_for(
    found: dict[tuple[str, int], Numbered], count: int | None
) -> dict[tuple[str, int], Numbered]:
    """The pictures of each prompt, or way of one, with numbers below `count`; None: all."""
    if count is None:
        return found
    asked = {
        key: {number: path for number, path in numbered.items() if number < count}
        for key, numbered in found.items()
    }
    if none := [next(iter(found[key].values())) for key in found if not asked[key]]:
        raise DataError(f"{none[0]}: num_pictures={count} is for numbers 0 to {count - 1}")
    if more := sum(map(len, found.values())) - sum(map(len, asked.values())):
        warn(f"num_pictures={count}: {more} pictures with higher numbers do not count")
    return asked


def check_pairs(one: Numbered, other: Numbered) -> None:
    """Raise DataError for a picture whose number the other folder does not have."""
    for a, b in ((one, other), (other, one)):
        alone = [path for number, path in a.items() if number not in b]
        if alone:
            folder = next(iter(b.values())).parent
            raise DataError(
                f"{alone[0]} has no picture of the same number in {folder}: draw as many in both"
            )


def check_pictures(paths: Iterable[Path], square: bool = True) -> str:
    """A hash of the pictures' bytes. Raises DataError for one that is torn or not square."""
    digest = hashlib.sha256()
    for path in paths:
        height, width, _ = decode_named(path).shape
        if square and height != width:
            raise DataError(f"{path} is {width}x{height}: want a square picture, as models draw")
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def refuse_changed(before: object, now: object) -> None:
    """Raise DataError if hashes of pictures are no longer those of `before` they were scored."""
    if now != before:
        raise DataError(
            "pictures changed while they were graded: leave them alone, and give the same command "
            "again"
        )


def find_numbered(folder: Path, stem: str) -> Numbered:
    """Those named `stem`_N. Raises DataError for none, another name, and a link that leaves."""
    place = folder / Path(stem).parent
    form = re.compile(rf"{re.escape(Path(stem).name)}_(0|[1-9]\d*)\.png")
    found = {}
    for path in sorted(place.glob("[!.]*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        match = form.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path}: want the name {Path(stem).name}_N.png, N from 0 on")
        if path.is_symlink() and not inside(path, folder):
            raise DataError(f"{path}: it leaves the folder by a link")
        found[int(match[1])] = path
    if not found:
        others = sorted(path.name for path in place.glob("[!.]*"))[:SHOWN]
        there = f"; found {', '.join(others)}" if others else ""
        raise DataError(f"{place}: no pictures: want {Path(stem).name}_0.png and on{there}")
    return dict(sorted(found.items()))


def refuse_more(folder: Path, count: int, where: str) -> None:
    """Raise DataError for a prompt that nobody knows: it would be left out in silence."""
    for path in sorted(folder.iterdir()):
        if path.name.isdecimal() and int(path.name) >= count:
            raise DataError(f"{path}: no such prompt: {where} has {count}, numbered from 0")
