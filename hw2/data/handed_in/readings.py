"""What a model reads on the pictures of students, kept in a file a student."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from hw2.data.files import read_json, write_json
from hw2.data.handed_in.files import HandedFile, Student, hash_part
from hw2.data.images import decode_bytes
from hw2.disclosure import plain
from hw2.errors import DataError
from hw2.progress import progress

MAX_PIXELS = 4_000_000  # of a picture; a larger one counts as unreadable
CHUNK = 500  # pictures in memory at once
READINGS = "readings"  # folder in OUT
P = TypeVar("P")


@dataclass(frozen=True)
class Reading:
    """What became of a file.

    `size` is WIDTHxHEIGHT of its picture, "" if it is not read; `said` what the model says, None if
    it has not seen it; `reason` says why it is not read, or does not count; `sum` is of the pixels,
    equal for equal pictures.
    """

    size: str
    said: Any
    reason: str | None
    sum: str = ""


@runtime_checkable
class Reader(Protocol[P]):
    """A model that looks at pictures, `upright` as their EXIF orientation says, or not."""

    upright: bool

    def prepared(self, pixels: np.ndarray) -> P:
        """A picture (h, w, 3), uint8, as small as the model needs it; DataError if it cannot be."""

    def read(self, pictures: Sequence[tuple[HandedFile, P]]) -> Sequence[Any]:
        """What it says of each, in terms of JSON."""

    def sound(self, said: Any) -> bool:
        """Whether `said` may be something that it has said."""


def read_student(
    reader: Reader[Any], student: Student, known: str, out: Path, advance: Callable[[int], object]
) -> list[Reading]:
    """What `reader` reads on each of the student's files, in their order.

    Kept in OUT/readings under the hash `known` of the files, and taken from there the next time.
    `advance` is told how many more are done. Raises DataError if the files are no longer those.
    """
    path = out / READINGS / f"{known}.json"
    if (kept := _kept(path, len(student.files), reader)) is not None:
        advance(len(kept))
        return kept
    found: list[Reading] = []
    digest = hashlib.sha256()
    files = _decoded(student, reader, digest.update)
    while chunk := list(islice(files, CHUNK)):
        found += _read(reader, chunk)
        advance(len(chunk))
    if digest.hexdigest() != known:
        raise DataError(
            f"{student.folder}: files changed while they were judged: leave them alone, and give "
            "the same command again"
        )
    path.parent.mkdir(exist_ok=True)
    write_json(path, [[r.size, r.said, r.reason, r.sum] for r in found])
    return found


def hash_students(students: Sequence[Student]) -> dict[str, str]:
    """The hash of each student's files, by name, under a bar."""
    with progress(_total(students), "looking through", "files") as bar:
        return {student.name: student.content_hash(bar.advance) for student in students}


def read_students(
    reader: Reader[Any], students: Sequence[Student], sums: Mapping[str, str], out: Path
) -> list[list[Reading]]:
    """`read_student` of each, whose files have the hashes `sums`, under a bar."""
    with progress(_total(students), "judging", "files") as bar:
        return [
            read_student(reader, student, sums[student.name], out, bar.advance)
            for student in students
        ]


def _total(students: Sequence[Student]) -> int:
    return sum(len(student.files) for student in students)


def picture_sum(pixels: np.ndarray) -> str:
    """Of a picture (h, w, 3), uint8: equal for equal ones alone."""
    return hashlib.sha256(f"{pixels.shape[1]} ".encode() + pixels.tobytes()).hexdigest()[:32]


def shared_sums(sums: Iterable[Iterable[str]]) -> set[str]:
    """Of the sums of each student's pictures those that more than one has."""
    owners = Counter(chain.from_iterable(map(set, sums)))
    return {one for one, count in owners.items() if one and count > 1}


def with_equals(
    students: Sequence[Student], readings: Sequence[Sequence[Reading]], real: Mapping[str, str]
) -> Iterator[tuple[Student, HandedFile, Reading, str]]:
    """Each file with what was read there, and the place of an equal picture before it.

    That is the real picture with the same pixels, of whose sums `real` has the places, else the
    first file with them, as STUDENT/PLACE/FILE; "" where there is none.
    """
    first = dict(real)
    for student, read in zip(students, readings, strict=True):
        for file, reading in zip(student.files, read, strict=True):
            here = f"{student.name}/{file.place}/{plain(file.file)}"
            equal_to = first.setdefault(reading.sum, here) if reading.sum else here
            yield student, file, reading, "" if equal_to == here else equal_to


Decoded = tuple[HandedFile, Any, Reading]  # without a picture None


def _decoded(
    student: Student, reader: Reader[Any], add: Callable[[bytes], object]
) -> Iterator[Decoded]:
    """Each file with its picture as the reader wants it, or with the reason why there is none."""
    for file, content in student.contents():
        add(hash_part(file, content))
        try:
            if isinstance(content, str):
                raise DataError(content)
            pixels = decode_bytes(content, MAX_PIXELS, upright=reader.upright)
            prepared = reader.prepared(pixels)
        except DataError as error:
            yield file, None, Reading("", None, str(error))
            continue
        height, width, _ = pixels.shape
        yield file, prepared, Reading(f"{width}x{height}", None, None, picture_sum(pixels))


def _read(reader: Reader[Any], chunk: Sequence[Decoded]) -> list[Reading]:
    """The readings of the files, those with a picture with what the reader says."""
    there = [(file, picture) for file, picture, _ in chunk if picture is not None]
    said = iter(reader.read(there) if there else [])
    return [
        reading if picture is None else replace(reading, said=next(said))
        for _, picture, reading in chunk
    ]


def _kept(path: Path, count: int, reader: Reader[Any]) -> list[Reading] | None:
    """The readings that an earlier run has written; None without, or if it is not our file."""
    try:
        rows = read_json(path)
    except (OSError, ValueError):
        return None
    ours = isinstance(rows, list) and len(rows) == count and all(_sound(r, reader) for r in rows)
    return [Reading(*row) for row in rows] if ours else None


def _sound(row: object, reader: Reader[Any]) -> bool:
    match row:
        case [str(), said, None | str(), str()]:
            return said is None or reader.sound(said)
    return False
