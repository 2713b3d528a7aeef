"""Folders of digits that students handed in: found and listed with care, and the bytes in them."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hw2.data.handed_in import HandedFolder, content_of, students_in
from hw2.data.images import SUFFIXES
from hw2.data.listing.store import Entry, Store, listed, names_of, unusable
from hw2.disclosure import warn
from hw2.domains import DOMAINS, Domain
from hw2.errors import DataError
from hw2.settings.grading import JudgeDigitsConfig

WANT = (
    "want a student's folder with mnistm/ and svhn/ in it, and in these {digit}_{001..}.png, "
    "or a folder whose sub-folders are such"
)
DIGIT = re.compile(r"([0-9])(?![0-9A-Za-z])")  # 3_001.png, not 10_001.png
NUMBERS = re.compile(r"(\d+)")
UNTOLD = "its name tells no digit: want {digit}_{001..}.png"


@dataclass(frozen=True)
class HandedIn:
    """A file in a student's folder of a domain.

    Attributes:
        domain: the folder it lies in.
        file: its name there; "" stands for the whole folder, where that is missing or empty.
        size: bytes; -1 where they are not known.
        digit: 0..9 as its name says; None where it does not count.
        reason: why it is not read or does not count, if that is known already.
    """

    domain: Domain
    file: str
    size: int
    digit: int | None
    reason: str | None


@dataclass(frozen=True)
class Student:
    """A student's folder, and the files in its domains in the order of their names."""

    name: str
    folder: Path
    files: tuple[HandedIn, ...]

    def counted(self, asked: int) -> "Student":
        """The same, of whose files the first `asked` of each domain and digit count; 0: all."""
        seen: Counter[tuple[Domain, int | None]] = Counter()
        files = []
        for file in self.files:
            seen[file.domain, file.digit] += 1
            if 0 < asked < seen[file.domain, file.digit] and file.digit is not None:
                file = replace(file, digit=None, reason=f"more than the {asked} asked for")
            files.append(file)
        return replace(self, files=tuple(files))

    def contents(self) -> Iterator[tuple[HandedIn, bytes | str]]:
        """Each file with its bytes, or with the reason why it is not read."""
        store = Store(os.path.abspath(self.folder))
        for file in self.files:
            yield file, file.reason or content_of(store, f"{file.domain}/{file.file}", file.size)

    def content_hash(self, advance: Callable[[int], object]) -> str:
        """sha256 over names and bytes of all files; `advance` is told how many more are done."""
        digest = hashlib.sha256()
        for file, content in self.contents():
            digest.update(hash_part(file, content))
            advance(1)
        return digest.hexdigest()


def hash_part(file: HandedIn, content: bytes | str) -> bytes:
    """What a file adds to its student's hash."""
    reason, data = (content, b"") if isinstance(content, str) else (None, content)
    known = json.dumps([file.domain, file.file, reason]).encode()
    return hashlib.sha256(known).digest() + hashlib.sha256(data).digest()


def find_students(config: JudgeDigitsConfig) -> list[Student]:
    """The students of all folders of `pictures`, with the files of `domains`; nothing is opened.

    Sub-folders without mnistm/ and svhn/, and archives, are students who handed in nothing that can
    be found. Raises as `students_in` does, and DataError for no pictures at all.
    """
    found = students_in(config.pictures, config.out, _has_domain, WANT)
    students = [
        Student(name, given.path, tuple(_files(given, config.domains)))
        for name, given in found.items()
    ]
    if all(file.digit is None for student in students for file in student.files):
        first = students[0].files[0]
        told = f"{students[0].folder}/{first.domain}/{first.file}: {first.reason}"
        raise DataError(f"no picture tells its digit ({told}): {WANT}")
    return students


def _has_domain(entries: Sequence[Entry]) -> bool:
    return any(entry.folder and entry.name in DOMAINS for entry in entries)


def _files(given: HandedFolder, domains: Sequence[Domain]) -> Iterator[HandedIn]:
    folder, reason = given
    if reason is not None:
        warn(f"{folder}: nothing of it is judged: {reason}")
        yield from (HandedIn(domain, "", -1, None, reason) for domain in domains)
        return
    store, found = Store(os.path.abspath(folder)), listed(folder)
    for domain in domains:
        if not any(entry.folder and entry.name == domain for entry in found):
            reason = f"no folder {domain}; found {names_of(found)}"
            warn(f"{folder}: nothing of {domain} is judged: {reason}")
            yield HandedIn(domain, "", -1, None, reason)
            continue
        try:
            entries = sorted(store.scan(domain), key=lambda e: (_in_order(e.name), e.name))
        except DataError as error:
            warn(f"{folder}: nothing of {domain} is judged: {error}")
            yield HandedIn(domain, "", -1, None, str(error))
            continue
        if not entries:
            yield HandedIn(domain, "", -1, None, "the folder is empty")
        files = [_handed_in(domain, entry) for entry in entries]
        if entries and all(file.digit is None for file in files):
            reason = f"found {names_of(entries)}: {files[0].reason}"
            warn(f"{folder}: nothing of {domain} is judged: {reason}")
        yield from files


def _in_order(name: str) -> list[tuple[int, str]]:
    """What sorts names by the numbers in them: 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in NUMBERS.split(name)]


def _handed_in(domain: Domain, entry: Entry) -> HandedIn:
    file = entry.name.partition("/")[2]
    told = DIGIT.match(file) if file.lower().endswith(SUFFIXES) else None
    reason = unusable(entry) or (None if told else UNTOLD)
    return HandedIn(domain, file, entry.size, int(told[1]) if told else None, reason)
