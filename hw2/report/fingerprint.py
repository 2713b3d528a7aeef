"""What a step's results were made from, as hashes of content."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hw2.data.concepts import read_concepts
from hw2.data.files import sha256_of
from hw2.errors import Hw2Error
from hw2.runlog.run_file import RUN_FILE

PACKAGE = Path(__file__).parents[1]
# Written again by each run of a job, also where nothing was left to do; and what jobs keep of
# their inputs (packed splits, embeddings).
LOGS = {RUN_FILE, "__pycache__", ".cache", ".embeddings"}
SUFFIXES = (".pyc", ".arrow", ".lock")
# What jobs read beside what a setting names, by its key: given faces, names of classes.
BESIDE = {"noise": "GT", "images": "id2label.json"}
NOT_RESULTS = ("hw2/report/", "hw2/settings/report.py", "jobs/report.py", "jobs/configs/report_")


class Fingerprint(NamedTuple):
    """Of a file or folder: of names, sizes and times, which is cheap, and of names and bytes."""

    stat: str
    content: str


def fingerprint(path: Path, known: Fingerprint | None = None) -> Fingerprint:
    """The fingerprint of `path`; its bytes are read unless `known` has the same names and times."""
    stat = stat_of(path)
    if known is not None and known.stat == stat:
        return known
    digest = hashlib.sha256()
    for name, file in _files(path):
        digest.update(f"{name}\0".encode() + bytes.fromhex(sha256_of(file)))
    return Fingerprint(stat, digest.hexdigest())


def stat_of(path: Path) -> str:
    """A hash over names, sizes and times of the files of `path`, without reading them."""
    digest = hashlib.sha256()
    for name, file in _files(path):
        found = file.stat()
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def code_of_jobs() -> str:
    """A hash over the code and the released weights that jobs use, the report's own left out."""
    root, digest = PACKAGE.parent, hashlib.sha256()
    for folder in (PACKAGE, root / "jobs"):
        for name, file in _files(folder):
            place = f"{folder.name}/{name}"
            if not place.startswith(NOT_RESULTS):
                digest.update(f"{place}\0".encode() + bytes.fromhex(sha256_of(file)))
    return digest.hexdigest()


def paths_in(tree: Any, key: str = "") -> Iterator[str]:
    """What is there of the files and folders that nested settings name, and of those beside them.

    A text is a path, TOKEN=PATH, local-dir:PATH, or several with commas between; `key` is that of
    the setting.
    """
    if isinstance(tree, str):
        parts = {tree, *map(str.strip, tree.split(","))}
        parts |= {text.rpartition("=")[2] for text in parts}
        for text in parts | {text.removeprefix("local-dir:") for text in parts}:
            path = os.path.expanduser(text)
            if not text or len(path) >= 4096 or "\0" in path or not os.path.exists(path):
                continue
            yield path
            yield from _beside(key, Path(path).absolute())
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from paths_in(value, str(name))
    elif isinstance(tree, Iterable):
        for value in tree:
            yield from paths_in(value, key)


def _beside(key: str, path: Path) -> Iterator[str]:
    if key == "input":  # the course's input.json, and its concepts' pictures
        with suppress(Hw2Error):  # its job says what is wrong with it
            for concept in read_concepts(path).values():
                yield from map(str, concept.pictures)
    elif key in BESIDE and (beside := path.parent / BESIDE[key]).exists():
        yield str(beside)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    seen = set()  # of folders that are linked: a link may lead back
    for folder, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = sorted(name for name in folders if name not in LOGS and real not in seen)
        for name in sorted(files if real not in seen else ()):
            place = Path(folder, name)
            passing = name in LOGS or name.startswith("journal.") or name.endswith(SUFFIXES)
            if not passing and place.is_file():  # nor a broken link, nor a pipe
                yield place.relative_to(path).as_posix(), place
        seen.add(real)
