"""Copies of files in a bucket, kept in the user's cache; a path names a version: none changes."""

import hashlib
import os
import re
from pathlib import Path

from hw2.bucket.storage import Bucket, Stamp
from hw2.data.files import replacing
from hw2.disclosure import describe
from hw2.errors import CheckpointError
from hw2.places import cache_folder
from hw2.progress import progress


def fetch_file(uri: str, key: str, *names: str) -> Path:
    """A copy of the file at `uri`, or of the first of `names` in that folder.

    `key` is the setting that has the URI. Raises CheckpointError if there is none, or no room for
    it in the cache, StorageError for a bucket that does not answer.
    """
    bucket = Bucket(uri)
    bucket.refuse_unusable()
    name, stamp = bucket.patiently(lambda: bucket.find("", *names))
    if stamp is None:
        nor = f", and no folder with {' or '.join(names)}" if names else ""
        raise CheckpointError(f"{key}={bucket.shown}: no such file{nor}")
    folder = cache_folder() / "models" / _version(f"{uri} {name} {stamp}")
    return _copy(bucket, key, name, folder / (name or bucket.path().rpartition("/")[2]))


def fetch_folder(uri: str, key: str, wanted: re.Pattern[str], what: str) -> Path:
    """A copy of the files below `uri` whose names from there match `wanted`.

    `key` is the setting that has the URI, `what` tells the files in an error. Raises
    CheckpointError if there are none, if they change meanwhile, so that the copy may be of two
    versions, or for no room in the cache, StorageError for a bucket that does not answer.
    """
    bucket = Bucket(uri)
    bucket.refuse_unusable()
    stamps = _stamps(bucket, wanted)
    if not stamps:
        raise CheckpointError(
            f"{key}={bucket.shown}: has no {what}: give the URI of a folder whose job is done"
        )
    folder = cache_folder() / "folders" / _version(f"{uri} {stamps}")
    missing = [name for name in stamps if not os.path.isfile(folder / name)]
    with progress(len(missing), f"fetching {bucket.shown}", "files", quiet=not missing) as bar:
        for name in missing:
            _copy(bucket, key, name, folder / name)
            bar.advance()
    if missing and _stamps(bucket, wanted) != stamps:
        raise _changed(bucket, key)
    return folder


def _stamps(bucket: Bucket, wanted: re.Pattern[str]) -> dict[str, Stamp]:
    found = sorted(bucket.patiently(bucket.names).items())
    return {name: stamp for name, stamp in found if wanted.fullmatch(name)}


def _version(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:24]


def _changed(bucket: Bucket, key: str) -> CheckpointError:
    return CheckpointError(
        f"{key}={bucket.shown}: changes while it is fetched: try again once the job that writes "
        "there is done"
    )


def _copy(bucket: Bucket, key: str, name: str, path: Path) -> Path:
    def get(passing: Path) -> None:
        try:
            bucket.get(name, passing)
        except FileNotFoundError:  # which it was not, when it was listed
            raise _changed(bucket, key) from None

    if os.path.isfile(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as passing:
            passing.touch()  # else a cache that is read-only would seem a bucket that is away
            bucket.patiently(lambda: get(passing))
    except OSError as error:  # of the bucket it is a StorageError
        raise CheckpointError(
            f"{key}={bucket.shown}: cannot be kept in {cache_folder()} ({describe(error)}): mend "
            "that, or set XDG_CACHE_HOME to another folder"
        ) from None
    return path
