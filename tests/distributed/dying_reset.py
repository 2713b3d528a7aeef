"""A sweep of plain Tune, whose actor dies once between two trials."""

import os
import signal
from pathlib import Path
from typing import Any


def values_in_spite_of_it(folder: Path) -> list[int]:
    """The results of five trials; the first actor that is reset for the third is killed in it.

    A sweep ran in this process before, which mends Tune for all that come after it.
    """
    from ray import tune

    killed = folder / "killed"

    class Trial(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.x = config["x"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.x = new_config["x"]
            if self.x == 3 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        def step(self) -> dict[str, Any]:
            return {"value": self.x, "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing is kept."""

    tuner = tune.Tuner(
        tune.with_resources(Trial, {"cpu": 0.5}),
        param_space={"x": tune.grid_search([1, 2, 3, 4, 5])},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            name="tune",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    )
    results = tuner.fit()
    assert killed.exists()
    return sorted((result.metrics or {}).get("value", 0) for result in results)
