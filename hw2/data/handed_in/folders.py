"""Folders that students handed in, found and named with care."""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from hw2.data.listing.folders import listed, names_of
from hw2.data.listing.store import Entry, passed_over, readable
from hw2.disclosure import plain, warn
from hw2.errors import ConfigError, DataError
from hw2.lock import refuse_at_work
from hw2.places import uri_of

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
PACKED = "it is an archive: unpack it"
LINKED = "it is a link, which may lead anywhere: put the folder itself in its place"


class HandedFolder(NamedTuple):
    """What a student handed in, and the reason why nothing of it is read, if so."""

    path: Path
    reason: str | None = None


def students_in(
    pictures: Sequence[Path], out: Path, is_students: Callable[[Sequence[Entry]], bool], want: str
) -> dict[str, HandedFolder]:
    """The students' folders of all folders of the setting `pictures`, by name; none is opened.

    `is_students` says of what lies in a folder whether it is a student's. A folder that is none has
    students' below it, of which one at least has to be so; `want` tells users that. A student is
    called as the folder is, or where two are called alike, by the path; no two have one name.
    Links to folders, and archives that are not unpacked beside themselves, are students too of
    whom nothing is read.

    Raises ConfigError for a bucket, for a folder that is there twice and for an OUT among students;
    DataError for a folder that is none, that cannot be listed, or that holds no student's;
    BusyError for a student's that a job is still drawing.
    """
    found = [one for given in pictures for one in _folders_of(given, out, is_students, want)]
    for one in found:
        if one.reason is None:
            refuse_at_work(one.path)
    folders = [one.path for one in found]
    twice = Counter(os.path.realpath(one.path) for one in found if one.reason != LINKED)
    if again := [path for path, count in twice.items() if count > 1]:
        raise ConfigError(f"pictures: {again[0]} is there twice: name it once")
    names = [plain(readable(os.path.basename(os.path.abspath(path)))[0]) for path in folders]
    own = [
        name if names.count(name) == 1 else plain(str(path))
        for name, path in zip(names, folders, strict=True)
    ]
    return dict(zip(_numbered(own), found, strict=True))


def hash_of_all(sums: Mapping[str, str]) -> str:
    """sha256 over the names of all students, in any order, and the hashes of their files."""
    return hashlib.sha256(json.dumps(sorted(sums.items())).encode()).hexdigest()


def metric_keys(names: Sequence[str]) -> list[str]:
    """The names of students as MLflow takes them in a metric's, no two alike."""
    found: list[str] = []
    for place, name in enumerate(names, 1):
        key = re.sub(r"[^\w. -]", "_", unicodedata.normalize("NFC", name))[:100]
        if key in found or not key.strip("._ "):  # two names of other scripts would be one
            key = f"{key}_{place}"
        found.append(key)
    return found


def _numbered(names: Sequence[str]) -> list[str]:
    """`names`, of which those that were there before are numbered: escapes can make two one."""
    found: list[str] = []
    for name in names:
        more = (f"{name} ({number})" for number in count(2))
        found.append(next(new for new in chain([name], more) if new not in found))
    return found


def _folders_of(
    given: Path, out: Path, is_students: Callable[[Sequence[Entry]], bool], want: str
) -> list[HandedFolder]:
    """The students' folders that a folder of `pictures` means."""
    if uri := uri_of(given):
        raise ConfigError(f"pictures={uri}: want a folder: copy what is in a bucket to one")
    if os.path.isfile(given) and _is_archive(given.name):
        return [HandedFolder(given, PACKED)]
    if not os.path.isdir(given):
        raise DataError(
            f"pictures={given}: no such folder: {want} (of a name with a comma in it a list: "
            '\'["..", ".."]\')'
        )
    refuse_at_work(given)  # it may hold no picture yet
    entries = listed(given)
    if is_students(entries):
        return [HandedFolder(given)]
    with os.scandir(given) as scanned:  # of each its own name, also one that is not UTF-8
        here = {item.name: item for item in scanned if not passed_over(item.name)}
    below = [
        HandedFolder(given / name, LINKED if item.is_symlink() else None)
        for name, item in sorted(here.items())
        # Of a link where it leads, which may be nowhere or a ring; else no error hides a student.
        if (os.path.isdir(given / name) if item.is_symlink() else item.is_dir())
        and name != "__pycache__"
    ]
    # All, so that all can be listed.
    if not any([is_students(listed(one.path)) for one in below if one.reason is None]):
        links = sum(one.reason is not None for one in below)
        more = f" ({links} of them links, which are not followed)" * (links > 0)
        raise DataError(f"pictures={given}: {want}; found {names_of(entries)}{more}")
    if not uri_of(out) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(given)):
        raise ConfigError(
            f"out={out} lies in pictures={given}, whose sub-folders are students': "
            "choose another --out"
        )
    names = {readable(one.path.name)[0] for one in below}
    loose = [entry for entry in entries if not entry.folder and entry.name not in names]
    packed = [e for e in loose if _is_archive(e.name) and _unpacked(e.name) not in names]
    if passed := [entry for entry in loose if entry not in packed]:
        warn(f"{given}: no folders, and so passed over: {names_of(passed)}")
    return below + [HandedFolder(given / entry.name, PACKED) for entry in packed]


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def _unpacked(archive: str) -> str:
    """What its folder is called."""
    return archive.rpartition(".")[0].removesuffix(".tar")
