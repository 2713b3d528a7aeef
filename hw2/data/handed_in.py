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

from hw2.data.listing.parts import CHANGED
from hw2.data.listing.store import Entry, Store, gist
from hw2.disclosure import plain, warn
from hw2.errors import ConfigError, DataError
from hw2.places import uri_of

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
PACKED = "it is an archive: unpack it"
SHOWN = 5  # names that a message lists


def students_in(
    pictures: Sequence[Path], out: Path, is_students: Callable[[Sequence[Entry]], bool], want: str
) -> dict[str, Path]:
    """The students' folders of all folders of the setting `pictures`, by name; none is opened.

    `is_students` says of what lies in a folder whether it is a student's. A folder that is none has
    students' below it, of which one at least has to be so; `want` tells users that. A student is
    called as the folder is, or where two are called alike, by the path; no two have one name.
    Archives that are not unpacked beside themselves are students too.

    Raises ConfigError for a bucket, for a folder that is there twice and for an OUT among students;
    DataError for a folder that is none, that cannot be listed, or that holds no student's.
    """
    folders = [path for given in pictures for path in _folders_of(given, out, is_students, want)]
    twice = Counter(os.path.realpath(path) for path in folders)
    if again := [path for path, count in twice.items() if count > 1]:
        raise ConfigError(f"pictures: {again[0]} is there twice: name it once")
    names = [plain(os.path.basename(os.path.abspath(path))) for path in folders]
    own = [
        name if names.count(name) == 1 else plain(str(path))
        for name, path in zip(names, folders, strict=True)
    ]
    return dict(zip(_numbered(own), folders, strict=True))


def content_of(store: Store, name: str, size: int) -> bytes | str:
    """The bytes of a student's file that had `size` of them, or the reason why it is not read."""
    try:
        content = store.read(name, size + 1)
    except DataError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({gist(error)})"
    return content if len(content) == size else CHANGED


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
) -> list[Path]:
    """The students' folders that a folder of `pictures` means."""
    if uri := uri_of(given):
        raise ConfigError(f"pictures={uri}: want a folder: copy what is in a bucket to one")
    if os.path.isfile(given) and _is_archive(given.name):
        return [given]
    if not os.path.isdir(given):
        raise DataError(f"pictures={given}: no such folder: {want}")
    entries = listed(given)
    if is_students(entries):
        return [given]
    below = [given / entry.name for entry in entries if entry.folder and entry.name[:2] != "__"]
    if not any([is_students(listed(path)) for path in below]):  # all, so that all can be listed
        raise DataError(f"pictures={given}: {want}; found {names_of(entries)}")
    if not uri_of(out) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(given)):
        raise ConfigError(
            f"out={out} lies in pictures={given}, whose sub-folders are students': "
            "choose another --out"
        )
    names = {path.name for path in below}
    loose = [entry for entry in entries if not entry.folder]
    packed = [e for e in loose if _is_archive(e.name) and _unpacked(e.name) not in names]
    if passed := [entry for entry in loose if entry not in packed]:
        warn(f"{given}: no folders, and so passed over: {names_of(passed)}")
    return below + [given / entry.name for entry in packed]


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def _unpacked(archive: str) -> str:
    """What its folder is called."""
    return archive.rpartition(".")[0].removesuffix(".tar")


def listed(folder: Path) -> list[Entry]:
    """What lies in a folder, sorted. Of one that cannot be listed nobody knows what is missing."""
    return sorted(Store(os.path.abspath(folder)).scan())


def names_of(entries: Sequence[Entry]) -> str:
    """The first names of a folder, for a message."""
    names = [f"{entry.name[:80]}{'/' * entry.folder}" for entry in entries[:SHOWN]]
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return (", ".join(names) or "nothing") + more
