"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from hw2.disclosure import one_line

LINE_EVERY_SECONDS = 30.0
AT_ONCE_SECONDS = 5.0  # work within work that takes less is not told


class Progress:
    """Counts up to `total`. Without a terminal it prints whole lines, at most one in 30 s.

    `quiet` shows nothing. `within` is of a part of other work, which may have a bar of its own: it
    shows nothing in its first seconds, and leaves no bar.
    """

    def __init__(
        self, total: int, title: str, unit: str, done: int, quiet: bool, within: bool
    ) -> None:
        self.total, self.title, self.unit, self.done = total, title, unit, done
        self._last = time.monotonic()
        delay = AT_ONCE_SECONDS if within else 0
        self._first = self._last + delay
        self._bar = None
        self._quiet = quiet
        if sys.stderr.isatty() and not quiet:
            self._bar = tqdm(
                total=total,
                desc=title,
                unit=f" {unit}",
                initial=done,
                delay=delay,
                leave=not within,
            )

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; `note` stands behind the bar."""
        note = one_line(note)
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif (
            not self._quiet
            and (now := time.monotonic()) >= self._first
            and (now - self._last >= LINE_EVERY_SECONDS or self.done == self.total)
        ):
            self._last = now
            print(f"{self.title}: {self.done}/{self.total} {self.unit} {note}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def progress(
    total: int,
    title: str,
    unit: str,
    done: int = 0,
    quiet: bool = False,
    within: bool = False,
) -> contextlib.closing[Progress]:
    """A Progress that is closed with the block."""
    return contextlib.closing(Progress(total, title, unit, done, quiet, within))


def _last_row(journal: Path) -> tuple[int, float | None]:
    """Step and loss of the newest metric row, (0, None) before the first."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, journal.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return 0, None
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            if row["kind"] == "metrics":
                return int(row["step"]), row["values"].get("train/loss")
    return 0, None


@contextlib.contextmanager
def following(journal: Path, total: int, title: str) -> Iterator[None]:
    """The progress of a training in other processes, read off its journal."""
    stop = threading.Event()
    before, _ = _last_row(journal)

    def follow() -> None:
        with progress(total, title, "steps", done=before) as bar:
            while True:
                ending = stop.wait(0.5)
                step, loss = _last_row(journal)
                if step > bar.done:
                    bar.advance(step - bar.done, "" if loss is None else f"loss {loss:.4f}")
                if ending:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
