"""The steps since a training's last row; their numbers stay on the device until the next one."""

import math
import time
from collections.abc import Mapping

from torch import Tensor

from hw2.errors import Hw2Error


class TrainingDiverged(Hw2Error, ArithmeticError):
    """The loss or gradient is no longer a number."""


class SinceRow:
    """Loss, gradient's norm and waiting of each step since the last row.

    A look at a number would wait for the device, so that all are looked at together. `way_out` is
    what a user can do about a training that diverges.
    """

    def __init__(self, way_out: str) -> None:
        self._way_out, self._began = way_out, time.perf_counter()
        self._steps: list[tuple[int, Tensor, Tensor, float]] = []

    def add(self, step: int, loss: Tensor, norm: Tensor, waited: float) -> None:
        """Take up a step: its loss, the norm of its gradient, its seconds of waiting for data."""
        self._steps.append((step, loss, norm, waited))

    def is_finite(self) -> bool:
        """Whether every gradient was a number."""
        return all(math.isfinite(float(norm)) for _, _, norm, _ in self._steps)

    def row(self, batch_size: int, means: Mapping[str, Tensor | float]) -> dict[str, float]:
        """What to log of them: the last one's loss, norm and `means`, their pace; others begin.

        Raises TrainingDiverged for the first step whose gradient is not finite.
        """
        for step, loss, norm, _ in self._steps:
            if not math.isfinite(float(norm)):
                said = f"loss {float(loss):.4g}, gradient norm {float(norm):.4g}"
                raise TrainingDiverged(f"step {step}: {said}: {self._way_out}")
        # Logging, reporting and saving the row before are part of this row's time.
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        _, loss, norm, _ = self._steps[-1]
        row = {
            "train/loss": float(loss),
            **{f"train/{name}": float(value) for name, value in means.items()},
            "train/gradient_norm": float(norm),
            "train/pictures_per_second": batch_size * len(self._steps) / seconds,
            "train/data_wait_share": sum(waited for *_, waited in self._steps) / seconds,
        }
        self._steps.clear()
        return row
