"""OUT in a bucket, from a job's start to its end: a working folder that is a mirror of it."""

import fcntl
import hashlib
import logging
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2.bucket.mirror import Address, Mirror
from hw2.bucket.storage import ANSWER_SECONDS, PATIENCE_SECONDS, Bucket
from hw2.errors import StorageError
from hw2.places import cache_folder

logger = logging.getLogger("hw2.bucket")


@contextmanager
def mirrored(uri: str) -> Iterator[Mirror]:
    """The working folder of a job's start, for the block; what it holds is pushed at the end.

    Raises StorageError if the bucket does not answer within ANSWER_SECONDS.
    """
    bucket = Bucket(uri)
    bucket.refuse_unusable()
    with _working_folder(uri) as folder:
        mirror = Mirror(Address(uri, uuid.uuid4().hex), folder)
        try:
            yield mirror
        except BaseException:
            _end(mirror, ANSWER_SECONDS)
            raise
        _end(mirror, PATIENCE_SECONDS)


def _end(mirror: Mirror, patience: float) -> None:
    mirror.stop()
    failing = sys.exc_info()[0] is not None
    try:
        mirror.push(patience)
    except StorageError as error:
        (mirror.folder.parent / ".left").touch()
        left = f"what is not there is in {mirror.folder}"
        if not failing:
            raise StorageError(f"{error}; {left}") from None
        logger.warning("%s; %s", error, left)


@contextmanager
def joined(address: Address, writes: bool = False) -> Iterator[Mirror]:
    """The working folder of another process of the run; filled and pushed if it `writes` alone."""
    with _working_folder(address.uri) as folder:
        mirror = Mirror(address, folder)
        if writes:
            mirror.join()
        try:
            yield mirror
        finally:
            mirror.stop()
            try:
                mirror.push(ANSWER_SECONDS)
            except StorageError as error:
                logger.warning("%s", error)


@contextmanager
def _working_folder(uri: str) -> Iterator[Path]:
    """A new folder, removed with the block; those of processes that were killed go first."""
    base = cache_folder() / "out" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    base.mkdir(parents=True, exist_ok=True)
    with (base / ".lock").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        for left in base.glob("*/.lock"):
            with left.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                if not left.with_name(".left").exists():
                    shutil.rmtree(left.parent, ignore_errors=True)
        home = Path(tempfile.mkdtemp(dir=base))
        lock = (home / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = home / (uri.partition("?")[0].rstrip("/").rpartition("/")[2] or "out")
    folder.mkdir()
    try:
        yield folder
    finally:
        if not (home / ".left").exists():
            shutil.rmtree(home, ignore_errors=True)
        lock.close()
