"""The actor of Ray Tune that makes trials, one after the other, where Ray has put it."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hw2.bucket.mirror import Address
from hw2.bucket.out import joined
from hw2.distributed.devices import given_gpu
from hw2.distributed.search import point_of
from hw2.distributed.sight import refuse_other_disk
from hw2.errors import Hw2Error
from hw2.lock import one_of_writers
from hw2.metrics.intervals import UNDEFINED
from hw2.runlog.run_file import RUN_FILE
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.space import Point
from hw2.sweeps.trial import Report, Work, fail_trial, name_of, run_trial
from hw2.weights import told_if_refused


def trainable(config: SweepConfig, out: Path, address: Address | None, on_gpu: bool) -> Any:
    """The class of Tune's actors: they work in `out`, or in copies of the OUT at `address`."""
    from ray import tune

    rungs, metric, run_file = config.rungs, config.metric, (out / RUN_FILE).read_text()

    class Trial(tune.Trainable):
        """One actor's trials, one after the other: the model is loaded once."""

        def setup(self, config: dict[str, Any], make: Callable[[bool], Work]) -> None:
            logging.getLogger("ray.tune.trainable.trainable").setLevel(logging.ERROR)
            self.held, self.out, self.mirror = contextlib.ExitStack(), out, None
            self.refusal: Hw2Error | None = None
            try:
                if address is not None:  # a folder of its own: it may run on another node
                    self.mirror = self.held.enter_context(joined(address))
                    self.mirror.join_beside()
                    self.out = self.mirror.folder
                else:
                    refuse_other_disk(out / RUN_FILE, run_file)
                    with told_if_refused(out):
                        self.held.enter_context(one_of_writers(out))
                    refuse_other_disk(out / RUN_FILE, run_file)  # moved aside before it was held
                with given_gpu(on_gpu):
                    self.work = make(on_gpu)
                self.reset_config(config)
            except Hw2Error as error:  # raised by `step`: raised here, Ray prints two tracebacks
                print(error, file=sys.stderr, flush=True)
                self.refusal = error

        def cleanup(self) -> None:
            self.held.close()

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.point = point_of(new_config)
            self.fetch(self.point)
            self.reports: Iterator[Report] = run_trial(
                self.work, self.out, self.point, rungs, self.fetch
            )
            return True

        def fetch(self, point: Point) -> None:
            if self.mirror:
                self.mirror.pull_below(name_of(point))

        def step(self) -> dict[str, Any]:
            if self.refusal is not None:
                raise self.refusal  # another node may do better
            # An error is told, not raised: Tune would end the actor, and the model with it.
            try:
                report = next(self.reports)
            except Exception as error:
                fail_trial(self.out, self.point, error)
                return {"done": True, "failed": True}
            finally:
                if self.mirror:
                    self.mirror.push()
            done = report.samples == rungs[-1]
            value = report.scores.get(metric, UNDEFINED).value
            return {"samples": report.samples, metric: value, "done": done}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: the trial's folder is the checkpoint."""

        def load_checkpoint(self, checkpoint: object) -> None:
            """Nothing, as above."""

    return Trial
