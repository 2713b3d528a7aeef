"""The trials of a sweep over one setting, with their pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hw2.errors import DataError
from hw2.metrics.intervals import Interval
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.sentences import Said, negated
from hw2.sweeps.choice import with_most_samples
from hw2.sweeps.trial import CHUNK, kept_arrays, trial_folder


@dataclass(frozen=True)
class Trial:
    """A finished trial of so many noises; `at` is its value of the setting."""

    at: float
    samples: int
    point: Mapping[str, Any]
    folder: Path
    scores: Mapping[str, Interval]

    def images(self, count: int) -> np.ndarray:
        """The pictures of its first `count` noises (samples, ..., 3, h, w), uint8.

        Of fewer if it was scored with fewer: a chunk may hold more.
        """
        count, found = min(count, self.samples), []
        for first in range(0, count, CHUNK):
            arrays = kept_arrays(self.folder / f"chunk_{first:06d}.npz")
            if arrays is None:
                break
            found.append(arrays["images"])
        if not found or found[0].dtype != np.uint8 or found[0].shape[-3] != 3:
            raise DataError(f"{self.folder} has no pictures that can be read: delete it")
        return np.concatenate(found)[:count]


def paired(job: JobOutput, metric: str, first: Trial, last: Trial) -> Interval | None:
    """How much more `last` has of the metric than `first`, on the same noises.

    None where the sweep has not compared them: neither is its baseline, or both had other noises.
    """
    for one in job.metric("differences"):
        if one.get("metric") != metric:
            continue
        ends = one.get("baseline"), one.get("point")
        if ends == (first.point, last.point):
            return as_interval(one)
        if ends == (last.point, first.point):
            return negated(as_interval(one))
    return None


def read_trials(job: JobOutput, key: str) -> tuple[list[Trial], list[Said]]:
    """The trials of a sweep over `key` alone, in its order, and what is said of others.

    Those are trials that were stopped with fewer noises, with which distances are larger. Raises
    DataError if fewer than two are left, or two have the same value.
    """
    found: dict[float, Trial] = {}
    for one in job.metric("trials"):
        point, scores = one.get("point", {}), one.get("scores", {})
        if key in point and scores:
            if point[key] in found:
                raise DataError(
                    f"{job.out}: several trials have {key} {point[key]}: the report shows a sweep "
                    "over that setting alone"
                )
            intervals = {k: as_interval(v, f"{job.out}: {k}") for k, v in scores.items()}
            at = float(point[key])
            folder = trial_folder(job.out, point)
            found[at] = Trial(at, int(one["samples"]), point, folder, intervals)
    trials = [found[at] for at in sorted(found)]
    whole = with_most_samples(trials)
    if len(whole) < 2:
        stopped = f", {len(trials) - len(whole)} with fewer noises" * (len(trials) > len(whole))
        raise DataError(
            f"{job.out}: {len(whole)} trials over {key} have scores{stopped}: need two or more"
        )
    left_out = tuple(f"{trial.at:g} ({trial.samples})" for trial in trials if trial not in whole)
    said = [Said("table.stopped_trials", {"most": str(whole[0].samples), "settings": left_out})]
    return whole, said if left_out else []
