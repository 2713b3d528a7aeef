"""Whether a training's workers are about to be ended, as by a spot node that is told to go."""

import sys
import threading
import time

AGAIN_SECONDS = 10.0  # between checkpoints until it goes

# In worker 0's process: its training is to save now, and has done so.
_wanted, _saved = threading.Event(), threading.Event()


def save_first(seconds: float) -> bool:
    """Have the training of this process save a checkpoint; whether it did, in so many seconds."""
    _saved.clear()
    _wanted.set()
    return _saved.wait(seconds)


class Leaving:
    """Whether worker 0 is to save a checkpoint now: for `save_first`, and before a node goes.

    Of a node at the notice, and again until it goes.

    Ray Train tells each worker of a node that drains (`ray drain-node`, KubeRay, an autoscaler),
    five seconds later at most, lets all of them go on until its deadline, and then ends them. What
    is public of that is a barrier of all workers at each look (`ray.train.get_preemption_info`).
    """

    def __init__(self) -> None:
        self._next, self._asked = 0.0, False

    def __call__(self) -> bool:
        from ray.train.v2._internal.execution.context import get_train_context

        if self._asked:  # what was to be saved is, since this is asked anew
            self._asked = False
            _saved.set()
        if _wanted.is_set():
            _wanted.clear()
            self._asked = True
            return True
        now = time.monotonic()
        if now < self._next or get_train_context().preemption_context.preemption_info is None:
            return False
        if not self._next:
            often = f"saved now, and each {AGAIN_SECONDS:g} s until it goes"
            print(f"a node is about to be taken away: a checkpoint is {often}", file=sys.stderr)
        self._next = now + AGAIN_SECONDS
        return True
