"""Trials under Ray Tune: what runs where, what becomes of those that fail, who is told."""

import contextlib
import logging
import os
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hw2.bucket.mirror import Mirror
from hw2.config import ScalingConfig
from hw2.distributed.devices import gpu_refusal
from hw2.distributed.reach import joining
from hw2.distributed.room import (
    cluster_cpus_and_gpus,
    fitting,
    growing,
    share_of_cluster,
    tell_if_busy,
)
from hw2.distributed.search import point_of, searched
from hw2.distributed.session import clear_ray_storage, connected, ray_storage
from hw2.distributed.trial_actor import trainable
from hw2.distributed.tune_controller import mend_controller
from hw2.errors import ConfigError, Hw2Error
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.space import Point
from hw2.sweeps.trial import TrialResult, Work, fail_trial, name_of, read_trial
from hw2.weights import told_if_refused


@contextlib.contextmanager
def connected_for(config: SweepConfig) -> Iterator[None]:
    """Ray with room for a trial of `config`; else it raises ConfigError. See `connected`."""
    with connected(config.session):
        if config.gpus_per_trial is not None:
            _refuse_no_gpu(config.gpus_per_trial)
        yield


def run_under_tune(
    make: Callable[[bool], Work],
    points: Sequence[Point],
    config: SweepConfig,
    out: Path,
    told: Callable[[TrialResult], None],
    mirror: Mirror | None = None,
) -> list[TrialResult]:
    """As `hw2.distributed.sweep.run_sweep`, on the Ray that is connected."""
    _quiet_tune()
    from ray import tune

    mend_controller()
    wanted = len(points) or config.search.num_trials
    num_workers, limited, resources = _resources(config.scaling, config.gpus_per_trial, wanted)
    tell_if_busy(resources["cpu"], resources.get("gpu", 0))
    limited = limited or config.search.method == "optuna"
    here = _Here(told, mirror)
    address, on_gpu = mirror.address if mirror else None, resources.get("gpu", 0) > 0
    actor = trainable(config, out, address, on_gpu)
    space, search, num_trials = searched(points, config, out)
    tuner = tune.Tuner(
        # As a parameter: what it holds (real pictures) may be more than a class may carry.
        tune.with_resources(tune.with_parameters(actor, make=make), resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=config.metric,
            mode=config.mode,
            search_alg=search,
            scheduler=_scheduler(config),
            num_samples=num_trials,
            max_concurrent_trials=num_workers if limited else None,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            **ray_storage(out, mirror),
            name="tune",
            stop=_stopper(here),
            verbose=0,
            callbacks=[_callback(here, config, out)],
            failure_config=tune.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()
    if here.refusal is not None:
        raise here.refusal
    clear_ray_storage(out, mirror)
    return list(here.ended.values())


def _callback(here: "_Here", config: SweepConfig, out: Path) -> Any:
    """What Tune calls in this process as a trial ends."""
    from ray import tune

    class Tell(tune.Callback):
        def _end(self, trial: Any) -> None:
            with here.later(out):
                here.fetch(point_of(trial.config))
                here.end(read_trial(out, point_of(trial.config)))

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            self._end(trial)

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            died = f"its process died more than {config.max_failures} times"
            with here.later(out):
                here.fetch(point_of(trial.config))
                fail_trial(out, point_of(trial.config), _error(trial) or died)
            if not here.stopped:
                self._end(trial)

    return Tell()


def _stopper(here: "_Here") -> Any:
    """What Tune asks between its steps."""
    from ray import tune

    class Stop(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return here.stopped

    return Stop()


class _Here:
    """Who is told in this process. Tune pickles its callbacks to restore them, which we do not."""

    def __init__(self, told: Callable[[TrialResult], None], mirror: Mirror | None) -> None:
        self.told, self.mirror = told, mirror
        self.ended: dict[str, TrialResult] = {}  # by folder: Optuna may ask for a point twice
        self.refusal: Hw2Error | None = None
        self.stopped = False

    @contextlib.contextmanager
    def later(self, out: Path) -> Iterator[None]:
        """Keep the first refusal until the end: Tune would run the finished trial again.

        The end is near where the disk of `out` fails: no further trial could be kept.
        """
        try:
            with told_if_refused(out):
                try:
                    yield
                except OSError:
                    self.stopped = True
                    raise
        except Hw2Error as error:
            self.refusal = self.refusal or error

    def fetch(self, point: Point) -> None:
        if self.mirror:
            self.mirror.pull_below(name_of(point))

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


def _error(trial: Any) -> Hw2Error | str:
    """Why it could not start, "" if its process died. Tune has not yet moved what it kept of it."""
    with contextlib.suppress(Exception):
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        if isinstance(known := getattr(error, "cause", None), Hw2Error):
            return known
        if "creation task" in str(error):
            return re.sub(r"\x1b\[\d+m", "", str(error))
    return ""


def _refuse_no_gpu(gpus_per_trial: float) -> None:
    if not cluster_cpus_and_gpus()[1] and not growing():
        why: str | None = "the cluster has no GPU"
    else:
        why = None if joining() else gpu_refusal()  # of a cluster's nodes, Ray's word
    if why is not None:
        raise ConfigError(f"gpus_per_trial={gpus_per_trial:g}, but {why}: leave it out")


def _resources(
    scaling: ScalingConfig, gpus_per_trial: float | None, num_trials: int
) -> tuple[int, bool, dict[str, float]]:
    """How many trials run at once, whether Tune must be told so, and what each is given.

    Tune ends an actor that finds no trial waiting, and a limit lets none wait: where resources
    limit as well, it is left out, and models are loaded less often. Not on a cluster that grows,
    which would bring a node for each trial that waits.
    """
    resources = {"cpu": scaling.cpus_per_worker or 1.0}
    if gpus_per_trial is None:
        unbounded = scaling.model_copy(update={"num_workers": None})
        room, use_gpu = share_of_cluster(unbounded, num_trials)
        if use_gpu:
            resources["gpu"] = 1.0
    else:
        room = max(1, min(fitting(resources["cpu"], gpus_per_trial), num_trials))
        resources["gpu"] = gpus_per_trial
    if growing() and scaling.num_workers:
        room = num_trials  # as many as are asked for are waited for, and no more
    num_workers = min(scaling.num_workers or room, room)
    return num_workers, num_workers < room or growing(), resources


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
