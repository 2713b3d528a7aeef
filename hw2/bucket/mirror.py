"""OUT in a bucket: a working folder on this machine that is kept like it.

The bucket is the truth. Whoever works at OUT copies it into a folder of its own, writes there, and
brings the news to the bucket every ten seconds, at each checkpoint and at the end: the journal
after the files that it speaks of, a checkpoint's manifest after its weights and its steps' rows. A
kill in between leaves nothing that could be taken for whole, and the same command goes on from the
bucket, on any machine.

A metric row may be delivered to MLflow when the journal in the bucket has it (`kept`) and the file
`.owner` there still names this run, which is looked at in this order. A later start writes itself
there before it copies the journal: so it knows each row that its predecessor has delivered.
"""

import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hw2.bucket.beat import Beat
from hw2.bucket.out_files import CHECKPOINTS, MANIFESTS, RAY, SETTINGS, OutFiles, prolong, turn
from hw2.bucket.owner import Owner
from hw2.bucket.storage import ANSWER_SECONDS, PATIENCE_SECONDS, Bucket, Stamp
from hw2.checkpoint import MANIFEST, is_whole
from hw2.errors import StorageError
from hw2.runlog.journal import JOURNAL

logger = logging.getLogger("hw2.bucket")
PUSH_SECONDS, FOLLOW_SECONDS, THREADS = 10.0, 3.0, 8


@dataclass(frozen=True)
class Address:
    """What another process needs to work at the same OUT: the URI, and the run that owns it."""

    uri: str
    run: str


class Mirror:
    """The working folder `folder` of the OUT at `address`. Made by hw2.bucket.out."""

    def __init__(self, address: Address, folder: Path) -> None:
        self.address, self.folder = address, folder
        self.bucket, self._files = Bucket(address.uri), OutFiles(folder)
        self._owner = Owner(self.bucket, address.run)
        self._writes = False
        self._known: dict[str, Stamp | None] = {}  # of files as the bucket has them; None: not here
        self._seen: dict[str, Stamp] = {}  # of files in the bucket, as they were copied
        self._kept: dict[str, int] = {}
        self._lock = threading.RLock()
        self._beat: Beat | None = None

    # --- who writes ---------------------------------------------------------------------------

    def take_over(self, patience: float = PATIENCE_SECONDS) -> None:
        """Be the one that writes: first for a job's start, later among the processes of its run."""
        self._own(patience)
        self.pull(patience)

    def join(self, patience: float = PATIENCE_SECONDS) -> None:
        """Be the one that writes, unless a later start has taken OUT over."""
        self.bucket.patiently(self._owner.check, patience)
        self.take_over(patience)
        self.start()

    def join_beside(self) -> None:
        """Write beside the others of this run, each its own files."""
        self.bucket.patiently(self._owner.check)
        self._writes = True

    def set_aside(self) -> None:
        """Move what is in the bucket to URI.old-N, and begin anew."""
        self._own()  # else an earlier start would write there while it is moved
        self.bucket.patiently(self.bucket.move_aside)
        for path in self.folder.iterdir():
            path.unlink()
        self._known, self._seen = {}, {}

    def _own(self, patience: float = PATIENCE_SECONDS) -> None:
        self._writes = True
        self._owner.claim(patience)

    # --- from the bucket ----------------------------------------------------------------------

    def pull(self, patience: float = PATIENCE_SECONDS) -> None:
        """Copy all that is new in the bucket but checkpoints."""
        self._pull(lambda name: not name.startswith((CHECKPOINTS, RAY)), patience)

    def pull_settings(self) -> bool:
        """Copy what says whose results they are; return whether there are any files at all."""
        self._pull(lambda name: name in SETTINGS, ANSWER_SECONDS)
        return bool(self.bucket.patiently(self.bucket.names, ANSWER_SECONDS))

    def pull_checkpoint(self) -> str | None:
        """Copy the newest checkpoint that is whole, and what is known of the others.

        Returns its folder, for `pull_below` by the other workers; None if there is none.
        """
        self._pull(lambda name: name.endswith(MANIFEST), folder=CHECKPOINTS[:-1])
        with self._lock:
            for name in self.bucket.patiently(lambda: self.bucket.names(CHECKPOINTS[:-1])):
                self._known.setdefault(name, None)  # to be taken away there when its time comes
        for name in sorted((name for name in self._known if name.endswith(MANIFEST)), reverse=True):
            folder = name.removesuffix(f"/{MANIFEST}")
            self.pull_below(folder)
            if is_whole(self.folder / folder):
                return folder
        return None

    def pull_below(self, folder: str) -> None:
        """Copy what is new below one folder of OUT."""
        self._pull(lambda name: True, folder=folder)

    def _pull(
        self,
        wanted: Callable[[str], bool],
        patience: float = PATIENCE_SECONDS,
        folder: str = "",
    ) -> None:
        def pull() -> None:
            found = self.bucket.names(folder)
            fresh = [n for n, stamp in found.items() if wanted(n) and self._seen.get(n) != stamp]
            self._each(lambda name: self._get(name, found[name]), fresh)

        with self._lock:
            self.bucket.patiently(pull, patience)

    def _get(self, name: str, stamp: Stamp) -> None:
        path = self.folder / name
        grows = path.name == JOURNAL
        if not grows and path.exists() and self._known.get(name) != self._files.stamp(path):
            return  # it has changed here since
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            self.bucket.get(name, part)
            there = Stamp(part.stat().st_size, 0)
            if grows and path.exists():
                prolong(path, part)
            else:
                os.replace(part, path)
        except FileNotFoundError:
            return  # taken away since it was listed, as old checkpoints are
        finally:
            part.unlink(missing_ok=True)
        self._known[name] = there if grows else self._files.stamp(path)
        self._seen[name] = stamp

    # --- to the bucket ------------------------------------------------------------------------

    def push(self, patience: float = PATIENCE_SECONDS) -> None:
        """Bring all that is new here to the bucket, and take away there what was removed here.

        Raises StorageError if the bucket is away for longer, or a later start works there.
        """
        with self._lock:
            self.bucket.patiently(self._push, patience)

    def kept(self, path: Path) -> int:
        """How many bytes of the journal `path` are in the bucket of which this run is the owner."""
        return self._kept.get(self._files.name(path), 0)

    def _push(self) -> None:
        if not self._writes:
            return
        # Manifests are listed before journals are measured, and these before files are: what the
        # one vouches for, and what the other speaks of, is there by then.
        timely = self._files.manifests() | self._known.keys()
        journals = self._files.journals()
        found = self._files.all() | journals
        here = {n: found[n] for n in found if turn(n) != MANIFESTS or n in timely}
        new = sorted((n for n in here if self._known.get(n) != here[n]), key=turn)
        gone = [
            name for name, stamp in self._known.items() if name not in here and self._gone(name)
        ]
        behind = any(self._kept.get(name, 0) < stamp.size for name, stamp in journals.items())
        if not new and not gone and not behind:  # a push that failed last may leave just `_kept`
            return
        self._owner.check()
        for _, names in itertools.groupby(new, turn):
            self._each(lambda name: self._put(name, here[name]), names)
            # Weights go for minutes: no manifest of them into a later start's OUT.
            self._owner.check()
        for name in sorted(gone, key=lambda name: not name.endswith(MANIFEST)):
            self.bucket.delete(name)
            del self._known[name]
        self._kept |= {name: stamp.size for name, stamp in journals.items()}

    def _put(self, name: str, stamp: Stamp) -> None:
        try:
            self.bucket.put(name, self.folder / name, stamp.size)
        except FileNotFoundError:
            return  # removed since
        self._known[name] = stamp

    def _gone(self, name: str) -> bool:
        path = self.folder / name
        return not (path if self._known[name] else path.parent).exists()

    def _each(self, work: Callable[[str], None], names: Iterable[str]) -> None:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="bucket") as pool:
            list(pool.map(work, names))

    # --- in the background --------------------------------------------------------------------

    def start(self) -> None:
        """Push every ten seconds from now on."""
        self._beat = Beat(self.bucket.shown, self._lock, PUSH_SECONDS, self._push)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Another process of this run writes in the block; its rows and files come here."""
        self.push()
        self.stop()
        self._writes = False
        self._owner.lend()
        self._beat = Beat(self.bucket.shown, self._lock, FOLLOW_SECONDS, self._follow)
        try:
            yield
        finally:
            self.stop()
            failing = sys.exc_info()[0] is not None
            try:
                self.join(ANSWER_SECONDS if failing else PATIENCE_SECONDS)
            except StorageError as error:
                if not failing:
                    raise
                logger.warning("%s", error)

    def _follow(self) -> None:
        self.pull(0.0)
        self._owner.check()
        if there := self._known.get(JOURNAL):
            self._kept[JOURNAL] = there.size

    def stop(self) -> None:
        """No more pushes in the background."""
        if self._beat is not None:
            self._beat.stop()
            self._beat = None
