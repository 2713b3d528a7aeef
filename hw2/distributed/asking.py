"""How a training that is stopped is asked for a checkpoint where its processes share no folder.

With OUT in a bucket the job and worker 0 have a copy each of it. What `hw2.stopping.saving_first`
writes in the job's copy goes through Ray's table of keys to worker 0's, where the training looks;
the answer comes back once the checkpoint is in the bucket.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2.bucket.mirror import Mirror
from hw2.bucket.owner import TakenOver
from hw2.disclosure import describe, warn
from hw2.stopping import ANSWERED, HEARS, LOOK_SECONDS, WANTED, WANTS, content, nobody_hears, put


@contextmanager
def asking(mirror: Mirror | None) -> Iterator[None]:
    """In the block, where Ray is connected, worker 0 is asked when the job is. None: no bucket."""
    if mirror is None:
        yield
        return
    file = mirror.folder / WANTED

    def look() -> bool:
        if not content(file) and _is_put(mirror, "hears"):
            put(file, HEARS)
        if content(file) == WANTS:
            _put(mirror, "asked")
        if not content(file) or not _is_put(mirror, "answered"):
            return False
        put(file, ANSWERED)
        return True

    with _looking(look, lambda: _forget(mirror.address.run)):
        yield


@contextmanager
def answering(mirror: Mirror) -> Iterator[None]:
    """In the block, on worker 0, the training in `mirror` hears what the job asks."""
    file = mirror.folder / WANTED
    file.write_bytes(b"")
    told = False

    def look() -> bool:
        nonlocal told
        if content(file) == HEARS and not told:
            _put(mirror, "hears")
            told = True
        if content(file) == HEARS and _is_put(mirror, "asked"):
            put(file, WANTS)
        if content(file) != ANSWERED:
            return False
        mirror.push()
        _put(mirror, "answered")
        return True

    with _looking(look):
        yield


def hears_no_more(out: Path, run: str | None) -> None:
    """Worker 0 is about to be ended, as another begins, or none: until then nobody is asked.

    `out` is the job's, on whose node Ray's controller calls this; `run` that of one in a bucket.
    """
    if run is not None:
        with contextlib.suppress(Exception):  # of a head that is gone
            _forget(run)
    nobody_hears(out)


@contextmanager
def _looking(look: Callable[[], bool], end: Callable[[], None] = lambda: None) -> Iterator[None]:
    """In the block a thread calls `look` until it says that all is done, and after it `end`.

    Of Ray or a bucket that does not answer it tells once, and asks again.
    """
    stop = threading.Event()

    def watch() -> None:
        told = False
        while not stop.wait(LOOK_SECONDS):
            try:
                if look():
                    break
            except TakenOver:
                break  # by the job, which waits no longer, or by a later start: the next push says
            except Exception as error:  # the checkpoints from before stay
                if not told and not stop.is_set():  # else of Ray's end
                    warn(f"a stop saves no checkpoint first until this is over: {describe(error)}")
                told = True
        stop.wait()
        with contextlib.suppress(Exception):
            end()

    thread = threading.Thread(target=watch, name="asking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2 * LOOK_SECONDS)  # a head that is gone may not answer at all


def _key(run: str, word: str) -> bytes:
    return f"hw2/{run}/{word}".encode()


def _put(mirror: Mirror, word: str) -> None:
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_key(mirror.address.run, word), b"")


def _forget(run: str) -> None:
    """Ray's head would keep the words as long as it lives."""
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(_key(run, ""), del_by_prefix=True)


def _is_put(mirror: Mirror, word: str) -> bool:
    from ray.experimental.internal_kv import _internal_kv_exists

    return _internal_kv_exists(_key(mirror.address.run, word))
