"""Trials of a sweep on the released weights, and how they are compared: always by intervals.

A paired difference where the same noises were drawn twice, a distance otherwise.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hw2.metrics.frechet import frechet_estimate
from hw2.metrics.intervals import Interval, bootstrap
from hw2.sweeps.trial import TrialResult, Work, read_trial, run_trial

Trials = Callable[..., TrialResult]


def trials_of(work: Work, out: Path, samples: int) -> Trials:
    """Runs the trial at a point, or finds it."""

    def trial(**point: object) -> TrialResult:
        for _ in run_trial(work, out, point, [samples]):
            pass
        return read_trial(out, point)

    return trial


def apart(a: TrialResult, b: TrialResult, outcome: str) -> Interval:
    """The mean of a's outcome less b's, on the same noises."""
    difference = torch.from_numpy(a.outcomes[outcome]) - torch.from_numpy(b.outcomes[outcome])
    return bootstrap(difference.double(), seed=0)


def further(
    a: torch.Tensor,
    b: torch.Tensor,
    real: torch.Tensor,
    classes: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> Interval:
    """How much further from `real` the features `a` are than `b`, of pictures of the same noises.

    `classes`: those of `a` and `b`, and those of `real`.
    """
    return (frechet_estimate(a, real, classes) - frechet_estimate(b, real, classes)).interval


def images_of(trial: TrialResult) -> np.ndarray:
    """What a trial has drawn."""
    chunks = sorted(trial.folder.glob("chunk_*.npz"))
    return np.concatenate([np.load(path)["images"] for path in chunks])
