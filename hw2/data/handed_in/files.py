"""The files in a student's folder: listed with care place by place, and the bytes in them."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hw2.data.handed_in.folders import HandedFolder
from hw2.data.images import SUFFIXES
from hw2.data.listing.folders import listed, names_of
from hw2.data.listing.parts import CHANGED
from hw2.data.listing.store import Entry, Store, gist, unusable
from hw2.disclosure import warn
from hw2.errors import DataError

NUMBERS = re.compile(r"(\d+)")
LabelOf = Callable[[str, str], int | None]  # of a place, and the name of a picture there


@dataclass(frozen=True)
class HandedFile:
    """A file in a place of a student's folder.

    Attributes:
        place: the folder below the student's that it lies in, as mnistm or 0/1.
        file: its name there; "" stands for the whole place, where that is missing or empty.
        size: bytes; -1 where they are not known.
        label: what it is to show, as its name and place say; None where it does not count.
        reason: why it is not read or does not count, if that is known already.
    """

    place: str
    file: str
    size: int
    label: int | None
    reason: str | None


@dataclass(frozen=True)
class Student:
    """A student's folder, and its files place by place, in the order of their numbers."""

    name: str
    folder: Path
    files: tuple[HandedFile, ...]

    def counted(self, asked: int) -> "Student":
        """The same, of whose files the first `asked` of each place and label count; 0: all."""
        seen: Counter[tuple[str, int | None]] = Counter()
        files = []
        for file in self.files:
            seen[file.place, file.label] += 1
            if 0 < asked < seen[file.place, file.label] and file.label is not None:
                file = replace(file, label=None, reason=f"more than the {asked} asked for")
            files.append(file)
        return replace(self, files=tuple(files))

    def contents(self) -> Iterator[tuple[HandedFile, bytes | str]]:
        """Each file with its bytes, or with the reason why it is not read."""
        store = Store(os.path.abspath(self.folder))
        for file in self.files:
            yield file, file.reason or content_of(store, f"{file.place}/{file.file}", file.size)

    def content_hash(self, advance: Callable[[int], object]) -> str:
        """sha256 over names and bytes of all files; `advance` is told how many more are done."""
        digest = hashlib.sha256()
        for file, content in self.contents():
            digest.update(hash_part(file, content))
            advance(1)
        return digest.hexdigest()


def hash_part(file: HandedFile, content: bytes | str) -> bytes:
    """What a file adds to its student's hash."""
    reason, data = (content, b"") if isinstance(content, str) else (None, content)
    known = json.dumps([file.place, file.file, reason]).encode()
    return hashlib.sha256(known).digest() + hashlib.sha256(data).digest()


def content_of(store: Store, name: str, size: int) -> bytes | str:
    """The bytes of a student's file that had `size` of them, or the reason why it is not read."""
    try:
        content = store.read(name, size + 1)
    except DataError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({gist(error)})"
    return content if len(content) == size else CHANGED


def student_of(
    name: str, given: HandedFolder, places: Sequence[str], label_of: LabelOf, untold: str
) -> Student:
    """What a student has in `places`; no file is opened.

    `untold` is the reason of a picture whose name tells no label. Of places of which nothing can
    count a warning says so, one for each reason.
    """
    return Student(name, given.path, tuple(_files(given, places, label_of, untold)))


def refuse_unlabelled(students: Sequence[Student], want: str) -> None:
    """Raise DataError if no file of any student counts; `want` tells users what would."""
    if all(file.label is None for student in students for file in student.files):
        first = students[0].files[0]
        told = f"{students[0].folder}/{first.place}/{first.file}: {first.reason}"
        raise DataError(f"no picture counts ({told}): {want}")


def _files(
    given: HandedFolder, places: Sequence[str], label_of: LabelOf, untold: str
) -> Iterator[HandedFile]:
    if given.reason is not None:
        warn(f"{given.path}: nothing of it is judged: {given.reason}")
        yield from (HandedFile(place, "", -1, None, given.reason) for place in places)
        return
    store, found = Store(os.path.abspath(given.path)), listed(given.path)
    nothing: dict[str, list[str]] = {}
    for place in places:
        try:
            entries = _scanned(store, found, place)
        except DataError as error:
            entries, reason = [], str(error)
        else:
            reason = "the folder is empty"
        files = [_file(place, entry, label_of, untold) for entry in entries]
        if files:
            reason = f"found {names_of(entries)}: {files[0].reason}"
        if all(file.label is None for file in files):
            nothing.setdefault(reason, []).append(place)
        yield from files or [HandedFile(place, "", -1, None, reason)]
    for reason, empty in nothing.items():
        warn(f"{given.path}: nothing of {', '.join(empty)} is judged: {reason}")


def _scanned(store: Store, found: Sequence[Entry], place: str) -> list[Entry]:
    """What lies in a place, where `found` lies in the student's folder; DataError without one."""
    here = ""
    for part in place.split("/"):
        here = f"{here}/{part}" if here else part
        there = [entry for entry in found if entry.name == here]
        if not there:
            raise DataError(f"no folder {here}; found {names_of(found)}")
        if not there[0].folder:
            raise DataError(f"{here} is a file or a link, not a folder")
        found = sorted(store.scan(here), key=lambda e: (_in_order(e.name), e.name))
    return list(found)


def _in_order(name: str) -> list[tuple[int, str]]:
    """What sorts names by the numbers in them: 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in NUMBERS.split(name)]


def _file(place: str, entry: Entry, label_of: LabelOf, untold: str) -> HandedFile:
    file = entry.name.removeprefix(f"{place}/")
    label = label_of(place, file) if file.lower().endswith(SUFFIXES) else None
    reason = unusable(entry) or (untold if label is None else None)
    return HandedFile(place, file, entry.size, label, reason)
