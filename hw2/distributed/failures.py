"""How often the workers of a training may fail, and what is said when they do."""

import sys
from collections.abc import Mapping

MAX_FAILURES = 8


class Failures:
    """Counts a training's failures as Ray does, which tells of each before it decides."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, errors: Mapping[int, Exception]) -> None:
        """Say on stderr which ranks failed (why, the worker says), and what follows."""
        for rank, error in sorted(errors.items()):
            print(f"worker {rank} failed: {type(error).__name__}", file=sys.stderr)
        self.count += not any(_reclaimed(error) for error in errors.values())
        if self.count > MAX_FAILURES:
            follows = f"the workers failed more than {MAX_FAILURES} times: given up"
        else:
            again = f"from the newest checkpoint, at most {MAX_FAILURES} times in all"
            follows = f"the workers start again {again}"
        print(follows, file=sys.stderr)


def _reclaimed(error: Exception) -> bool:
    """Whether the worker's node was taken away with notice: without limit, as Ray has it."""
    died = getattr(error, "health_check_failure", error)
    return bool(getattr(died, "preempted", False))
