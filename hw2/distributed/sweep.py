"""A sweep: the trials that are not done yet, each with its MLflow run, and the report."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hw2.allocator import OTHER, room_on_gpu
from hw2.bucket.mirror import Mirror
from hw2.distributed.devices import own_device, with_threads
from hw2.distributed.search import num_asked
from hw2.distributed.tuning import connected_for, run_under_tune
from hw2.progress import progress
from hw2.runlog.tracker import Tracker
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.ended import ended_trials, keep_end
from hw2.sweeps.record import Recorder
from hw2.sweeps.report import report_sweep
from hw2.sweeps.shown import Shown
from hw2.sweeps.space import Point, label_of
from hw2.sweeps.trial import TrialResult, Work, fail_trial, read_trial, run_trial

MakeWork = Callable[[bool], Work]
Told = Callable[[TrialResult], None]


def sweep(
    make: MakeWork,
    points: Sequence[Point],
    config: SweepConfig,
    shown: Shown,
    experiment: str,
    tracker: Tracker,
) -> None:
    """Run the trials that `tracker.out` has not, each with its MLflow run, and report on all.

    Raises TrialsFailed after the report if some failed.
    """
    optuna = config.search.method == "optuna"
    total = num_asked(config, tracker.out) if optuna else len(points)
    settings = config.shown()
    with Recorder(tracker, experiment) as recorder, progress(total, "sweep", "trials") as bar:

        def told(trial: TrialResult) -> None:
            value = trial.scores.get(config.metric)
            said = trial.error or f"{config.metric} {value}"
            bar.advance(1, f"{label_of(trial.point)}: {said}")
            recorder.record(trial, settings | trial.point)

        trials = run_sweep(make, points, config, tracker.out, told, tracker.mirror)
    report_sweep(config, shown, trials, tracker)


def run_sweep(
    make: MakeWork,
    points: Sequence[Point],
    config: SweepConfig,
    out: Path,
    told: Told,
    mirror: Mirror | None = None,
) -> list[TrialResult]:
    """The results of a trial at each of `points` (with Optuna: of those that it asks for).

    `make(on_gpu)` runs once in each process that runs trials. `told` is called in this process
    with each trial as it ends. A trial that fails is told with its error and the others go on.
    What `out` has of a trial is not done again: the same call continues a sweep, and after its end
    only tells of it. `mirror` brings it to a bucket and back.
    """
    if (ended := ended_trials(config, out)) is not None:
        for trial in ended:
            told(trial)
        return ended
    make = with_threads(make, config.scaling)
    if config.scaling.num_workers == 0:
        return _one_by_one(make, points, config, out, told)
    with connected_for(config):
        trials = run_under_tune(make, points, config, out, told, mirror)
    keep_end(config, out, trials)
    return trials


def _one_by_one(
    make: MakeWork, points: Sequence[Point], config: SweepConfig, out: Path, told: Told
) -> list[TrialResult]:
    with room_on_gpu(OTHER):
        work = make(own_device(config.scaling).type == "cuda")
    results = []
    for point in points:
        try:
            for _ in run_trial(work, out, point, config.rungs):
                pass
        except Exception as error:  # of whatever kind: the sweep goes on
            fail_trial(out, point, error)
        results.append(read_trial(out, point))
        told(results[-1])
    return results
