"""Copies of files in a bucket, kept in the user's cache; a path names a version: none changes."""

import hashlib
import re
from pathlib import Path

from hw2.bucket.storage import Bucket
from hw2.data.files import replacing
from hw2.errors import CheckpointError
from hw2.places import cache_folder
from hw2.progress import progress


def fetch_file(uri: str, key: str, *names: str) -> Path:
    """A copy of the file at `uri`, or of the first of `names` in that folder.

    `key` is the setting that has the URI. Raises CheckpointError if there is none, StorageError
    for a bucket that does not answer.
    """
    bucket = Bucket(uri)
    bucket.refuse_unusable()
    name, stamp = bucket.patiently(lambda: bucket.find("", *names))
    if stamp is None:
        nor = f", and no folder with {' or '.join(names)}" if names else ""
        raise CheckpointError(f"{key}={bucket.shown}: no such file{nor}")
    folder = cache_folder() / "models" / _version(f"{uri} {name} {stamp}")
    return _copy(bucket, name, folder / (name or bucket.path().rpartition("/")[2]))


def fetch_folder(uri: str, key: str, wanted: re.Pattern[str], what: str) -> Path:
    """A copy of the files below `uri` whose names from there match `wanted`.

    `key` is the setting that has the URI, `what` tells the files in an error. Raises
    CheckpointError if there are none, StorageError for a bucket that does not answer.
    """
    bucket = Bucket(uri)
    bucket.refuse_unusable()
    found = sorted(bucket.patiently(bucket.names).items())
    stamps = {name: stamp for name, stamp in found if wanted.fullmatch(name)}
    if not stamps:
        raise CheckpointError(f"{key}={bucket.shown}: has no {what}")
    folder = cache_folder() / "folders" / _version(f"{uri} {stamps}")
    missing = [name for name in stamps if not (folder / name).is_file()]
    with progress(len(missing), f"fetching {bucket.shown}", "files", quiet=not missing) as bar:
        for name in missing:
            _copy(bucket, name, folder / name)
            bar.advance()
    return folder


def _version(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:24]


def _copy(bucket: Bucket, name: str, path: Path) -> Path:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as passing:
            bucket.patiently(lambda: bucket.get(name, passing))
    return path
