"""Ray Tune's controller, mended where it gives up a trial that it should start again.

Between two trials an actor is reset. If it dies there, or is dead by then (its node is lost), Ray
2.60 handles that twice, once as the actor's failure and once as the reset's: the first starts the
trial again, and the second ends it for good, whatever `max_failures` says.
"""

import importlib
from typing import Any


def mend_controller() -> None:
    """Let `tune.run` of this process, and what is built on it, use the mended controller."""
    from ray.exceptions import RayActorError
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    class MendedController(TuneController):
        def _process_trial_failure(self, trial: Trial, exception: Any) -> None:
            resetting = trial in self._resetting_trials
            if resetting and trial.status == Trial.PENDING and isinstance(exception, RayActorError):
                self._resetting_trials.discard(trial)  # handled already: it is to start again
            else:
                super()._process_trial_failure(trial, exception)

    entry: Any = importlib.import_module("ray.tune.tune")
    entry.TuneController = MendedController
