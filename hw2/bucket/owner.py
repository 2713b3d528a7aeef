"""The file `.owner` in a bucket: which run works at OUT there, and which of its processes."""

import uuid

from hw2.bucket.storage import PATIENCE_SECONDS, Bucket
from hw2.errors import StorageError

OWNER = ".owner"


class TakenOver(StorageError):
    """A later start of the job works at OUT now."""


class Owner:
    """What a process of the `run` writes into `.owner` of `bucket`, and finds there."""

    def __init__(self, bucket: Bucket, run: str) -> None:
        self.bucket, self.run = bucket, run
        self._writer: str | None = None  # what is written there while this process alone writes

    def claim(self, patience: float = PATIENCE_SECONDS) -> None:
        """Be the one that writes there."""
        self._writer = uuid.uuid4().hex
        owner = f"{self.run} {self._writer}"
        self.bucket.patiently(lambda: self.bucket.write_text(OWNER, owner), patience)

    def lend(self) -> None:
        """Let other processes of the run claim it."""
        self._writer = None

    def check(self) -> None:
        """Raise TakenOver if a later start, or another process in the place of this, claimed it."""
        run, _, writer = (self.bucket.read_text(OWNER) or "").partition(" ")
        if run != self.run or self._writer not in (None, writer):
            raise TakenOver(
                f"out={self.bucket.shown}: a later start of this job works there: let it finish"
            )
