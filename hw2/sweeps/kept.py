"""Which trials a sweep has begun: what its folder keeps of them, whatever was asked for."""

from pathlib import Path

from hw2.data.files import read_json
from hw2.sweeps.space import Point, key_of
from hw2.sweeps.trial import NOT_OURS, TrialResult, read_trial


def kept_trials(out: Path) -> list[TrialResult]:
    """All trials that `out` has, finished or not."""
    return [read_trial(out, point) for point in kept_points(out)]


def kept_points(out: Path) -> list[Point]:
    """The points of all trials that `out` has, finished or not."""
    files = sorted((out / "trials").glob("*/point.json"))
    return [point for path in files if (point := _kept_point(path))]


def _kept_point(path: Path) -> Point | None:
    """The point of a trial's folder; None if the folder is not named by it."""
    try:
        point = read_json(path)
        return point if key_of(point) == path.parent.name else None
    except NOT_OURS:
        return None
