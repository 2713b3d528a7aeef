"""What a judge reads on the pictures of students, kept a student each, and the grades of it."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from hw2.data.files import read_json, write_json
from hw2.data.images import decode_bytes
from hw2.digits.equal_pictures import picture_sum
from hw2.digits.judging import JUDGE_SIZE, at_judge_size, judge_pictures
from hw2.digits.students import HandedIn, Student, hash_part
from hw2.domains import DIGITS, DOMAINS, Domain
from hw2.errors import DataError
from hw2.metrics.intervals import UNDEFINED, Interval, wilson
from hw2.models.judge import Judge
from hw2.pixels import stacked

MAX_PIXELS = 4_000_000  # of a picture that is to have 784; a larger one counts as unreadable
CHUNK = 500  # pictures in memory at once
READINGS = "readings"  # folder in OUT


@dataclass(frozen=True)
class Reading:
    """What became of a file.

    `size` is WIDTHxHEIGHT of its picture, "" if it is not read; `read_as` the digit 0..9 that the
    judge sees; `reason` says why it is not read, or does not count; `sum` is of the pixels, equal
    for equal pictures.
    """

    size: str
    read_as: int | None
    reason: str | None
    sum: str = ""


@dataclass(frozen=True)
class Grade:
    """What the judge reads in a student's folder of a domain.

    Attributes:
        pictures: of each digit 0..9, as the names say; the unreadable count too.
        right: pictures read as their names say.
        unreadable: pictures that are broken or cannot be had; they count as wrong.
        other_size: pictures that are not 28x28, and are brought to it.
        not_counted: files whose name tells no digit, or that are more than was asked for.
        asked: pictures that were asked for of each digit; those that are missing count as wrong.
        repeated: pictures that are equal to one before them; they count as any other.
        shared: pictures that another student has too; likewise.
        copied: pictures that are equal to a real one; likewise.
    """

    pictures: tuple[int, ...]
    right: int
    unreadable: int
    other_size: int
    not_counted: int
    asked: int = 0
    repeated: int = 0
    shared: int = 0
    copied: int = 0

    @property
    def missing(self) -> int:
        """Pictures that were asked for and are not there."""
        return sum(max(0, self.asked - count) for count in self.pictures)

    @property
    def total(self) -> int:
        """All pictures that count, there or missing."""
        return sum(self.pictures) + self.missing

    @property
    def counts(self) -> dict[str, int]:
        """What stands in tables beside the accuracy, in this order."""
        return {
            "pictures": sum(self.pictures),
            "read_right": self.right,
            "unreadable": self.unreadable,
            "missing": self.missing,
            "other_size": self.other_size,
            "not_counted": self.not_counted,
            "repeated": self.repeated,
            "shared": self.shared,
            "copied": self.copied,
        }

    @property
    def accuracy(self) -> Interval:
        """Share read right, with Wilson's limits; undefined without pictures."""
        return wilson(self.right, self.total) if self.total else UNDEFINED

    @property
    def fewer(self) -> str:
        """The digits of fewer pictures than the fullest, or than asked: "3: 49, 7: 0 (of 50)"."""
        if not any(self.pictures):
            return "all"
        most = self.asked or max(self.pictures)
        short = [f"{d}: {count}" for d, count in enumerate(self.pictures) if count < most]
        return f"{', '.join(short)} (of {most})" if short else ""


def read_student(
    judge: Judge, student: Student, known: str, out: Path, advance: Callable[[int], object]
) -> list[Reading]:
    """What `judge` reads on each of the student's files, in their order.

    Kept in OUT/readings under the hash `known` of the files, and taken from there the next time.
    `advance` is told how many more are done. Raises DataError if the files are no longer those.
    """
    path = out / READINGS / f"{known}.json"
    kept = _kept(path, len(student.files))
    if kept is not None:
        advance(len(kept))
        return kept
    found: list[Reading] = []
    digest = hashlib.sha256()
    files = _decoded(student, digest.update)
    while chunk := list(islice(files, CHUNK)):
        found += _read(judge, chunk)
        advance(len(chunk))
    if digest.hexdigest() != known:
        raise DataError(
            f"{student.folder}: files changed while they were judged: leave them alone, and begin "
            "again with --overwrite true"
        )
    path.parent.mkdir(exist_ok=True)
    write_json(path, [[r.size, r.read_as, r.reason, r.sum] for r in found])
    return found


def grade(
    files: Sequence[HandedIn],
    readings: Sequence[Reading],
    domain: Domain,
    asked: int = 0,
    shared: Collection[str] = (),
    real: Collection[str] = (),
) -> Grade:
    """The grade of one domain of a student's files, where `asked` of each digit were asked for.

    `files`: as `Student.counted` leaves them, so that no digit has more than `asked`; `shared`: the
    sums of pictures that several students have; `real`: those of real pictures.
    """
    pairs = [(f, r) for f, r in zip(files, readings, strict=True) if f.domain == domain]
    counted = [(f, r) for f, r in pairs if f.digit is not None]
    whole = f"{JUDGE_SIZE}x{JUDGE_SIZE}"
    sums = [r.sum for _, r in counted if r.sum]
    return Grade(
        pictures=tuple(sum(f.digit == digit for f, _ in counted) for digit in DIGITS),
        right=sum(f.digit == r.read_as for f, r in counted),
        unreadable=sum(r.read_as is None for _, r in counted),
        other_size=sum(r.size not in ("", whole) for _, r in counted),
        not_counted=sum(f.digit is None and f.file != "" for f, _ in pairs),
        asked=asked,
        repeated=len(sums) - len(set(sums)),
        shared=sum(one in shared for one in sums),
        copied=sum(one in real for one in sums),
    )


Decoded = tuple[HandedIn, Tensor | None, Reading]


def _decoded(student: Student, add: Callable[[bytes], object]) -> Iterator[Decoded]:
    """Each file with its picture as the judge sees it, uint8 (3, 28, 28), or with the reason."""
    for file, content in student.contents():
        add(hash_part(file, content))
        try:
            if isinstance(content, str):
                raise DataError(content)
            pixels = decode_bytes(content, MAX_PIXELS)
        except DataError as error:
            yield file, None, Reading("", None, str(error))
            continue
        height, width, _ = pixels.shape
        picture = at_judge_size(stacked([pixels]))[0]
        yield file, picture, Reading(f"{width}x{height}", None, None, picture_sum(pixels))


def _read(judge: Judge, chunk: Sequence[Decoded]) -> list[Reading]:
    """The readings of the files, those with a picture with what the judge says."""
    there = [(file, picture) for file, picture, _ in chunk if picture is not None]
    if not there:
        return [reading for *_, reading in chunk]
    judged = judge_pictures(
        judge,
        torch.stack([picture for _, picture in there]),
        torch.tensor([file.digit for file, _ in there]),
        torch.tensor([DOMAINS.index(file.domain) for file, _ in there]),
    )
    said = iter(judged.predictions.tolist())
    return [
        reading if picture is None else replace(reading, read_as=next(said))
        for _, picture, reading in chunk
    ]


def _kept(path: Path, count: int) -> list[Reading] | None:
    """The readings that an earlier run has written; None without, or if it is not our file."""
    try:
        rows = read_json(path)
    except (OSError, ValueError):
        return None
    if not isinstance(rows, list) or len(rows) != count or not all(map(_sound, rows)):
        return None
    return [Reading(*row) for row in rows]


def _sound(row: object) -> bool:
    match row:
        case [str(), None | int() as digit, None | str(), str()]:
            return digit is None or digit in DIGITS
    return False
