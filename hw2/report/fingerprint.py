"""What a step's results were made from, as hashes of content."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1]
# Written again by each run of a job, also where nothing was left to do; and what jobs keep of
# their inputs (packed splits, embeddings).
LOGS = {"mlflow_run.json", "__pycache__", ".cache", ".embeddings"}
SUFFIXES = (".pyc", ".arrow", ".lock")
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
        digest.update(f"{name}\0".encode() + _sum(file))
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
                digest.update(f"{place}\0".encode() + _sum(file))
    return digest.hexdigest()


def paths_in(tree: Any) -> Iterator[str]:
    """The texts in nested settings that name something that is there."""
    if isinstance(tree, str):
        if tree and len(tree) < 4096 and "\0" not in tree and os.path.exists(tree):
            yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from paths_in(value)
    elif isinstance(tree, Iterable):
        for value in tree:
            yield from paths_in(value)


def _sum(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in LOGS)
        for name in sorted(files):
            if name not in LOGS and not name.startswith("journal.") and not name.endswith(SUFFIXES):
                place = Path(folder, name)
                yield place.relative_to(path).as_posix(), place
