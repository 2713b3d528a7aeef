"""Trials of a sweep under Ray Tune, or one by one in this process."""

import contextlib
import json
import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hw2.config import ScalingConfig
from hw2.distributed.session import cluster_cpus_and_gpus, connected, own_device, share_of_cluster
from hw2.errors import ConfigError
from hw2.metrics.intervals import UNDEFINED
from hw2.progress import progress
from hw2.runlog.tracker import Tracker
from hw2.settings.sweeps import Dimension, SweepConfig
from hw2.sweeps.record import Recorder
from hw2.sweeps.report import Shown, report_sweep
from hw2.sweeps.space import Point, label_of
from hw2.sweeps.trial import (
    Report,
    TrialResult,
    Work,
    fail_trial,
    kept_trials,
    read_trial,
    run_trial,
    rungs_of,
)

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
    total = len(points) if config.search.method != "optuna" else config.search.num_trials
    with Recorder(tracker, experiment) as recorder, progress(total, "sweep", "trials") as bar:

        def told(trial: TrialResult) -> None:
            value = trial.scores.get(config.metric)
            said = trial.error or f"{config.metric} {value}"
            bar.advance(1, f"{label_of(trial.point)}: {said}")
            recorder.record(trial, config.model_dump(mode="json") | trial.point)

        trials = run_sweep(make, points, config, tracker.out, told)
    report_sweep(config, shown, trials, tracker.out, tracker)


def run_sweep(
    make: MakeWork, points: Sequence[Point], config: SweepConfig, out: Path, told: Told
) -> list[TrialResult]:
    """The results of a trial at each of `points` (with Optuna: of those that it asks for).

    `make(on_gpu)` runs once in each process that runs trials. `told` is called in this process
    with each trial as it ends. A trial that fails is told with its error and the others go on.
    What `out` has of a trial is not done again: the same call continues a sweep.
    """
    if config.scaling.num_workers == 0:
        return _one_by_one(make, points, config, out, told)
    with connected(config.session):
        return _tune(make, points, config, out, told)


def _rungs(config: SweepConfig) -> list[int]:
    scheduler = config.scheduler
    if scheduler.method == "asha":
        return rungs_of(config.samples, scheduler.grace, scheduler.reduction_factor)
    return rungs_of(config.samples)


def _one_by_one(
    make: MakeWork, points: Sequence[Point], config: SweepConfig, out: Path, told: Told
) -> list[TrialResult]:
    import torch

    torch.set_num_threads(1)  # as under Tune: the number of threads moves the last bits
    work = make(own_device(config.scaling).type == "cuda")
    results = []
    for point in points:
        try:
            for _ in run_trial(work, out, point, _rungs(config)):
                pass
        except Exception as error:  # of whatever kind: the sweep goes on
            fail_trial(out, point, error)
        results.append(read_trial(out, point))
        told(results[-1])
    return results


def _tune(
    make: MakeWork, points: Sequence[Point], config: SweepConfig, out: Path, told: Told
) -> list[TrialResult]:
    _quiet_tune()
    from ray import tune

    rungs, metric = _rungs(config), config.metric
    wanted = len(points) or config.search.num_trials
    num_workers, resources = _resources(config.scaling, config.gpus_per_trial, wanted)
    # Tune ends an actor that finds no trial waiting, and a limit lets none wait: where resources
    # limit as well, it is left out, and models are loaded less often.
    limited = config.scaling.num_workers is not None or config.search.method == "optuna"
    here = _Here(told)

    class Trial(tune.Trainable):
        """One actor's trials, one after the other: the model is loaded once."""

        def setup(self, config: dict[str, Any], make: MakeWork) -> None:
            import torch

            logging.getLogger("ray.tune.trainable.trainable").setLevel(logging.ERROR)
            torch.set_num_threads(1)
            self.work = make(resources.get("gpu", 0) > 0)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.point = _point(new_config)
            self.reports: Iterator[Report] = run_trial(self.work, out, self.point, rungs)
            return True

        def step(self) -> dict[str, Any]:
            # An error is told, not raised: Tune would end the actor, and the model with it.
            try:
                report = next(self.reports)
            except Exception as error:
                fail_trial(out, self.point, error)
                return {"done": True, "failed": True}
            done = report.samples == rungs[-1]
            value = report.scores.get(metric, UNDEFINED).value
            return {"samples": report.samples, metric: value, "done": done}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: the trial's folder is the checkpoint."""

        def load_checkpoint(self, checkpoint: object) -> None:
            """Nothing, as above."""

    class Tell(tune.Callback):
        def _end(self, trial: Any) -> None:
            here.end(read_trial(out, _point(trial.config)))

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            self._end(trial)

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            died = f"its process died more than {config.max_failures} times, or could not start"
            fail_trial(out, _point(trial.config), _trace(trial) or died)
            self._end(trial)

    space, search, num_trials = _searched(points, config, out)
    tuner = tune.Tuner(
        # As a parameter: what it holds (real pictures) may be more than a class may carry.
        tune.with_resources(tune.with_parameters(Trial, make=make), resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=metric,
            mode=config.mode,
            search_alg=search,
            scheduler=_scheduler(config),
            num_samples=num_trials,
            max_concurrent_trials=num_workers if limited else None,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(out),
            name="ray",
            verbose=0,
            callbacks=[Tell()],
            failure_config=tune.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()
    return list(here.ended.values())


class _Here:
    """Who is told in this process. Tune pickles its callbacks to restore them, which we do not."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.ended: dict[str, TrialResult] = {}  # by folder: Optuna may ask for a point twice

    def end(self, trial: TrialResult) -> None:
        self.ended[trial.folder.name] = trial
        self.told(trial)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return dict, ()


def _quiet_tune() -> None:
    """Tune reads these when it is imported. What it keeps for itself is not what we go on from."""
    wanted = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports no metric
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
        "TUNE_WARN_THRESHOLD_S": "60",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its own one ends the sweep as if all were done
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints boxes at verbose=0 too
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    for name in ("ray.tune.tune", "ray.tune.analysis", "ray.tune.execution"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _trace(trial: Any) -> str:
    with contextlib.suppress(Exception):
        error = trial.get_error()
        return "".join(traceback.format_exception(error)) if error else ""
    return ""


def _resources(
    scaling: ScalingConfig, gpus_per_trial: float | None, num_trials: int
) -> tuple[int, dict[str, float]]:
    """How many trials run at once, and what each is given."""
    if gpus_per_trial is None:
        num_workers, use_gpu = share_of_cluster(scaling, num_trials)
        gpus = float(use_gpu)
    else:
        whole, use_gpu = share_of_cluster(scaling.model_copy(update={"num_workers": 1}), 1)
        if not use_gpu:
            raise ConfigError(
                f"gpus_per_trial={gpus_per_trial:g}, but the cluster has no GPU: leave it out"
            )
        cpus, all_gpus = cluster_cpus_and_gpus()
        have = min(
            int(all_gpus / gpus_per_trial), int(cpus / (scaling.cpus_per_worker or 1)), num_trials
        )
        num_workers = min(scaling.num_workers or have, max(have, whole))
        gpus = gpus_per_trial
    resources = {"cpu": scaling.cpus_per_worker or 1.0}
    return num_workers, resources | ({"gpu": gpus} if gpus else {})


def _scheduler(config: SweepConfig) -> Any:
    if config.scheduler.method == "fifo":
        return None
    from ray.tune.schedulers import ASHAScheduler

    return ASHAScheduler(
        time_attr="samples",
        max_t=config.samples,
        grace_period=config.scheduler.grace,
        reduction_factor=config.scheduler.reduction_factor,
    )


def _searched(
    points: Sequence[Point], config: SweepConfig, out: Path
) -> tuple[dict[str, Any], Any, int]:
    """Tune's space, searcher and number of trials."""
    from ray import tune

    if config.search.method != "optuna":
        return {"point": tune.grid_search(list(points))}, None, 1
    try:
        from ray.tune.search.optuna import OptunaSearch

        # What was begun comes first: its trials look it up or go on, and Optuna learns of it.
        begun = [trial.point for trial in kept_trials(out) if _lies_in(trial.point, config.space)]
        search = OptunaSearch(
            space=_optuna_space(config.space),
            metric=config.metric,
            mode=config.mode,
            seed=(config.seed + len(begun)) % 2**32,  # with the same it would ask the same again
            points_to_evaluate=[{k: _coded(v) for k, v in p.items()} for p in begun] or None,
        )
    except (ImportError, AssertionError):
        raise ConfigError("search.method=optuna: pip install optuna, or use random") from None
    return {}, search, max(config.search.num_trials, len(begun))


def _point(config: Mapping[str, Any]) -> Point:
    """The point of a trial, as Tune's grid or as Optuna hands it out."""
    if "point" in config:
        return dict(config["point"])
    return {k: json.loads(v) if str(v).startswith("[") else v for k, v in config.items()}


def _coded(value: Any) -> Any:
    """`value` as Optuna can have it: a list as JSON."""
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def _lies_in(point: Point, space: Mapping[str, Dimension]) -> bool:
    """Whether Optuna could ask for `point`."""
    if point.keys() != space.keys():
        return False
    for key, dimension in space.items():
        kind, value = dimension.kind_and_value
        if kind == "choice":
            inside = _coded(point[key]) in map(_coded, value)
        else:
            inside = isinstance(point[key], float) and value[0] <= point[key] <= value[1]
        if not inside:
            return False
    return True


def _optuna_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for key, dimension in space.items():
        kind, value = dimension.kind_and_value
        if kind == "choice":
            distributions[key] = optuna.distributions.CategoricalDistribution(
                [_coded(choice) for choice in value]
            )
        else:
            low, high = value
            log = kind == "loguniform"
            distributions[key] = optuna.distributions.FloatDistribution(low, high, log=log)
    return distributions
