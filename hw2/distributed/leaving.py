"""Whether a node of a training is about to be taken away, as a spot node that is told to go."""

import sys
import time

AGAIN_SECONDS = 10.0  # between checkpoints until it goes


class Leaving:
    """Whether worker 0 is to save a checkpoint now: at the notice, and again until the node goes.

    Ray Train tells each worker of a node that drains (`ray drain-node`, KubeRay, an autoscaler),
    five seconds later at most, lets all of them go on until its deadline, and then ends them. What
    is public of that is a barrier of all workers at each look (`ray.train.get_preemption_info`).
    """

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self) -> bool:
        from ray.train.v2._internal.execution.context import get_train_context

        now = time.monotonic()
        if now < self._next or get_train_context().preemption_context.preemption_info is None:
            return False
        if not self._next:
            often = f"saved now, and each {AGAIN_SECONDS:g} s until it goes"
            print(f"a node is about to be taken away: a checkpoint is {often}", file=sys.stderr)
        self._next = now + AGAIN_SECONDS
        return True
