"""That a sweep under Tune has ended, and with which trials: asked again, Tune would go further.

ASHA gives up by the order in which scores come, and kept ones come in another; Optuna asks for a
new point for each that it had asked for twice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw2.data.files import read_mapping, write_json
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.kept import kept_trials
from hw2.sweeps.trial import TrialResult

ENDED = "ended.json"  # in OUT
DECIDES = {"space", "search", "scheduler", "samples", "metric", "mode"}  # that may change in an OUT


def keep_end(config: SweepConfig, out: Path, trials: Sequence[TrialResult]) -> None:
    """Keep that the sweep ended with `trials`, unless one failed, which is to be tried again."""
    if not any(trial.error for trial in trials):
        samples = {trial.folder.name: trial.samples for trial in trials}
        write_json(out / ENDED, {"sweep": _deciding(config), "trials": samples})


def ended_trials(config: SweepConfig, out: Path) -> list[TrialResult] | None:
    """The trials with which this sweep ended; None if it did not, or another changed them since."""
    ended = read_mapping(out / ENDED)
    samples = ended.get("trials")
    if ended.get("sweep") != _deciding(config) or not isinstance(samples, dict):
        return None
    kept = {trial.folder.name: trial for trial in kept_trials(out)}
    trials = [kept[name] for name in samples if name in kept]
    now = {trial.folder.name: trial.samples for trial in trials if not trial.error}
    return trials if now == samples else None


def _deciding(config: SweepConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", include=DECIDES)
