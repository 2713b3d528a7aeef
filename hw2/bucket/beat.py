"""Work at a bucket that is done again every few seconds, in a thread."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from hw2.bucket.owner import TakenOver
from hw2.bucket.storage import ANSWER_SECONDS, AWAY, in_words
from hw2.errors import StorageError

logger = logging.getLogger("hw2.bucket")


class Beat:
    """Does `work` every `seconds`, holding `lock`, until `stop` or until a later start works there.

    Of a bucket that is away, which messages call `shown`, it tells once, and tries again.
    """

    def __init__(
        self,
        shown: str,
        lock: AbstractContextManager[object],
        seconds: float,
        work: Callable[[], None],
    ) -> None:
        self._shown, self._lock, self._seconds, self._work = shown, lock, seconds, work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        away = False
        while not self._stop.wait(self._seconds):
            try:
                with self._lock:
                    self._work()
                away = False
            except TakenOver:
                return  # the next push says so
            except (*AWAY, StorageError) as error:
                if not away:
                    logger.warning("%s is away (%s)", self._shown, in_words(error))
                away = True

    def stop(self) -> None:
        """Begin it no more, and wait for what is being done."""
        self._stop.set()
        self._thread.join(ANSWER_SECONDS)
