"""How a job is stopped: by a signal, and in a training after a checkpoint of what it has."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import FrameType

from hw2.errors import Hw2Error

STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
AGAIN_SECONDS = 3.0  # between signals that are two
# File in OUT, there while a training runs: on NFS a new one may be unseen for a minute, where new
# bytes of an old one are seen by whoever opens it.
WANTED = ".save"
HEARS, WANTS, ANSWERED = b"runs", b"save", b"done"  # before these it is empty; alike in length
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 20.0  # batch systems kill 30 s after the signal
JOB_SECONDS = 3.0  # Ray gives a submitted job so many, unless RAY_JOB_STOP_WAIT_TIME_S is set

# When, and by which signal: told apart from Ctrl-C, as which it goes through Ray.
_stopped: list[tuple[float, int]] = []


@contextmanager
def heeding_signals() -> Iterator[None]:
    """In the block SIGTERM, and SIGHUP of a closed terminal, stop as Ctrl-C does; see `stopped_by`.

    A SIGHUP that is ignored, as under `nohup`, stays so.
    """
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _stop)}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, _stop)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # by jobs/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _stopped.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped_by() -> int:
    """The signal that raised the KeyboardInterrupt of a job."""
    return _stopped[-1][1] if _stopped else signal.SIGINT


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop, but for a second signal within seconds: `timeout` sends two, and the end is under way.

    A later one stops again: Python loses what is raised while it takes an object apart.
    """
    now = time.monotonic()
    if _stopped and now - _stopped[-1][0] < AGAIN_SECONDS:
        return
    _stopped.append((now, number))
    raise KeyboardInterrupt


@contextmanager
def seeing_stops() -> Iterator[None]:
    """An error of the block behind which a KeyboardInterrupt hides becomes one, but for our own.

    transformers makes an ImportError of what stops the import of one of its models.
    """
    try:
        yield
    except Hw2Error:
        raise
    except Exception as error:
        chain: list[BaseException] = [error]
        while (behind := chain[-1].__cause__ or chain[-1].__context__) and behind not in chain:
            if isinstance(behind, KeyboardInterrupt):
                raise behind from None
            chain.append(behind)
        raise


def at_the_end(code: int) -> None:
    """From now on a signal of STOPS stops nothing more; seconds later it ends the process at once.

    As Python and Ray take themselves apart, a second Ctrl-C would show a traceback, and a SIGTERM
    would make a failure of a job that is done. `code` is the job's exit code.
    """
    began = time.monotonic()

    def handle(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - began > AGAIN_SECONDS:
            os._exit(code)

    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)


class Asked:
    """Whether the training in `out` is to save a checkpoint; looks at most twice a second.

    The first look says that there is one to ask, if anyone could: see `saving_first`. It says so
    once: a later one may have come, or nobody may be left, as it is ended.
    """

    def __init__(self, out: Path) -> None:
        self._file, self._looked, self._told = out / WANTED, 0.0, False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        if not self._told and not content(self._file):
            put(self._file, HEARS)
        there = content(self._file)
        self._told = self._told or bool(there)  # on NFS the file may be unseen for a minute
        return there == WANTS

    def answer(self) -> None:
        """It is saved, or cannot be."""
        put(self._file, ANSWERED)


def put(file: Path, word: bytes) -> None:
    """Write `word` over what stands in the file WANTED, if there is one and the disk lets it.

    In place: who looks meanwhile would take an emptied file for that of a training not begun.
    """
    with contextlib.suppress(OSError), file.open("r+b", buffering=0) as there:
        there.write(word)


def content(file: Path) -> bytes:
    """What stands in the file WANTED; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        return file.read_bytes()
    return b""


def nobody_hears(out: Path) -> None:
    """The training in `out` is ended: until it begins again a stop waits for no checkpoint."""
    with contextlib.suppress(OSError):
        os.truncate(out / WANTED, 0)


@contextmanager
def saving_first(out: Path) -> Iterator[None]:
    """In the block a signal of STOPS stops once the training in `out` has saved a checkpoint.

    It may run in this process or in another that sees `out`, and has 20 s, of a submitted job a
    third of what Ray gives it. A second Ctrl-C, or a SIGTERM seconds later, stops at once; so does
    the first while no training has begun, and once its last checkpoint is saved.
    """
    if threading.current_thread() is not threading.main_thread():  # it has no say in signals
        yield
        return
    file, began, waiting, passing = out / WANTED, list[float](), list[Thread](), threading.Event()
    file.write_bytes(b"")
    before = {number: signal.getsignal(number) for number in STOPS}
    before = {number: was for number, was in before.items() if was != signal.SIG_IGN}

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not began and not passing.is_set() and content(file) == HEARS:
            began.append(now)
            put(file, WANTS)  # or not: a full disk takes no checkpoint either
            waiting.append(Thread(target=wait, args=(number,)))
            waiting[0].start()
        elif (
            not began
            or passing.is_set()
            or number == signal.SIGINT
            or now - began[0] > AGAIN_SECONDS
        ):
            passing.set()
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    def wait(number: int) -> None:
        print("stopping: a checkpoint is saved first (Ctrl-C: at once)", file=sys.stderr)
        until = time.monotonic() + _patience()
        while content(file) == WANTS and time.monotonic() < until:
            if passing.wait(0.05):
                return
        passing.set()
        os.kill(os.getpid(), number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError):  # of a disk that fails: what ended the block says it
            file.unlink()
        for thread in waiting:  # where the training has ended meanwhile, the job stops now
            thread.join()


def _patience() -> float:
    """How long a job that is told to stop may wait for a checkpoint, in seconds."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        return PATIENCE_SECONDS
    given = os.environ.get("RAY_JOB_STOP_WAIT_TIME_S", "")
    return min(PATIENCE_SECONDS, (float(given) if given.isdecimal() else JOB_SECONDS) / 3)
