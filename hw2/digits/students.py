"""Folders of digits that students handed in: found and listed with care, and the bytes in them."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from hw2.data.images import SUFFIXES
from hw2.data.listing.parts import CHANGED
from hw2.data.listing.store import Entry, Store, gist, unusable
from hw2.disclosure import plain, warn
from hw2.domains import DOMAINS, Domain
from hw2.errors import ConfigError, DataError
from hw2.places import uri_of
from hw2.settings.grading import JudgeDigitsConfig

WANT = (
    "want a student's folder with mnistm/ and svhn/ in it, and in these {digit}_{001..}.png, "
    "or a folder whose sub-folders are such"
)
ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
PACKED = "it is an archive: unpack it"
DIGIT = re.compile(r"([0-9])(?![0-9A-Za-z])")  # 3_001.png, not 10_001.png
UNTOLD = "its name tells no digit: want {digit}_{001..}.png"
SHOWN = 5  # names that a message lists


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
            yield file, file.reason or _content(store, file)

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


def _content(store: Store, file: HandedIn) -> bytes | str:
    try:
        content = store.read(f"{file.domain}/{file.file}", file.size + 1)
    except DataError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({gist(error)})"
    return content if len(content) == file.size else CHANGED


def find_students(config: JudgeDigitsConfig) -> list[Student]:
    """The students of all folders of `pictures`, with the files of `domains`; nothing is opened.

    A student is called as the folder is, or where two are called alike, by the path; no two have
    one name. Sub-folders without mnistm/ and svhn/, and archives that are not unpacked beside
    themselves, are students who handed in nothing that can be found.
    Raises ConfigError for a bucket, for a folder that is there twice and for an OUT among students;
    DataError for a folder that is none, that cannot be listed, that holds no student's, and for no
    pictures at all.
    """
    folders = [path for given in config.pictures for path in _folders_of(given, config.out)]
    twice = Counter(os.path.realpath(path) for path in folders)
    if again := [path for path, count in twice.items() if count > 1]:
        raise ConfigError(f"pictures: {again[0]} is there twice: name it once")
    names = [plain(os.path.basename(os.path.abspath(path))) for path in folders]
    own = [
        name if names.count(name) == 1 else plain(str(path))
        for name, path in zip(names, folders, strict=True)
    ]
    students = [
        Student(name, path, tuple(_files(path, config.domains)))
        for name, path in zip(_numbered(own), folders, strict=True)
    ]
    if all(file.digit is None for student in students for file in student.files):
        first = students[0].files[0]
        told = f"{students[0].folder}/{first.domain}/{first.file}: {first.reason}"
        raise DataError(f"no picture tells its digit ({told}): {WANT}")
    return students


def _numbered(names: Sequence[str]) -> list[str]:
    """`names`, of which those that were there before are numbered: escapes can make two one."""
    found: list[str] = []
    for name in names:
        more = (f"{name} ({number})" for number in count(2))
        found.append(next(new for new in chain([name], more) if new not in found))
    return found


def _folders_of(given: Path, out: Path) -> list[Path]:
    """The students' folders that a folder of `pictures` means."""
    if uri := uri_of(given):
        raise ConfigError(f"pictures={uri}: want a folder: copy what is in a bucket to one")
    if os.path.isfile(given) and _is_archive(given.name):
        return [given]
    if not os.path.isdir(given):
        raise DataError(f"pictures={given}: no such folder: {WANT}")
    entries = _listed(given)
    if _has_domain(entries):
        return [given]
    below = [given / entry.name for entry in entries if entry.folder and entry.name[:2] != "__"]
    if not any([_has_domain(_listed(path)) for path in below]):  # all, so that all can be listed
        raise DataError(f"pictures={given}: {WANT}; found {_shown(entries)}")
    if not uri_of(out) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(given)):
        raise ConfigError(
            f"out={out} lies in pictures={given}, whose sub-folders are students': "
            "choose another --out"
        )
    names = {path.name for path in below}
    loose = [entry for entry in entries if not entry.folder]
    packed = [e for e in loose if _is_archive(e.name) and _unpacked(e.name) not in names]
    if passed := [entry for entry in loose if entry not in packed]:
        warn(f"{given}: no folders, and so passed over: {_shown(passed)}")
    return below + [given / entry.name for entry in packed]


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def _unpacked(archive: str) -> str:
    """What its folder is called."""
    return archive.rpartition(".")[0].removesuffix(".tar")


def _has_domain(entries: Sequence[Entry]) -> bool:
    return any(entry.folder and entry.name in DOMAINS for entry in entries)


def _listed(folder: Path) -> list[Entry]:
    """What lies in a folder, sorted. Of one that cannot be listed nobody knows what is missing."""
    return sorted(Store(os.path.abspath(folder)).scan())


def _files(folder: Path, domains: Sequence[Domain]) -> Iterator[HandedIn]:
    if not os.path.isdir(folder):
        warn(f"{folder}: nothing of it is judged: {PACKED}")
        yield from (HandedIn(domain, "", -1, None, PACKED) for domain in domains)
        return
    store, found = Store(os.path.abspath(folder)), _listed(folder)
    for domain in domains:
        if not any(entry.folder and entry.name == domain for entry in found):
            reason = f"no folder {domain}; found {_shown(found)}"
            warn(f"{folder}: nothing of {domain} is judged: {reason}")
            yield HandedIn(domain, "", -1, None, reason)
            continue
        try:
            entries = sorted(store.scan(domain))
        except DataError as error:
            warn(f"{folder}: nothing of {domain} is judged: {error}")
            yield HandedIn(domain, "", -1, None, str(error))
            continue
        if not entries:
            yield HandedIn(domain, "", -1, None, "the folder is empty")
        for entry in entries:
            yield _handed_in(domain, entry)


def _handed_in(domain: Domain, entry: Entry) -> HandedIn:
    file = entry.name.partition("/")[2]
    told = DIGIT.match(file) if file.lower().endswith(SUFFIXES) else None
    reason = unusable(entry) or (None if told else UNTOLD)
    return HandedIn(domain, file, entry.size, int(told[1]) if told else None, reason)


def _shown(entries: Sequence[Entry]) -> str:
    """The first names of a folder, for a message."""
    names = [f"{entry.name[:80]}{'/' * entry.folder}" for entry in entries[:SHOWN]]
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return (", ".join(names) or "nothing") + more
