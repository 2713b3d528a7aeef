"""What a finished training of concepts says of itself: the error before and after."""

from collections.abc import Mapping

import torch

from hw2.fixed_noise import FixedNoiseLoss
from hw2.locate import FINAL
from hw2.metrics.intervals import bootstrap
from hw2.metrics.table import format_table
from hw2.models.ema import moving
from hw2.progress import progress
from hw2.runlog.tracker import Tracker
from hw2.training import Training
from hw2.weights import load_weights


def report_training(
    training: Training,
    tracker: Tracker,
    more: Mapping[str, float] | None = None,
    device: torch.device | None = None,
) -> None:
    """Write OUT/metrics.json: the error on the concepts' pictures before and after; and `more`.

    `training` is as it was at the beginning, and is brought to `device`. The limits are those
    of noises and timesteps, the pictures the few that there are; the error is of what
    `prediction_type` names.
    """
    assert isinstance(training.evaluate, FixedNoiseLoss)
    errors, total = training.evaluate.errors, 2 * len(training.evaluate.samples)
    with progress(total, "measuring, before and after", "samples") as bar:
        before = errors(training.net.eval().to(device), bar.advance)
        load_weights(tracker.out / FINAL, training.net, "ema", only=moving(training.net))
        after = errors(training.net, bar.advance)
    found = {
        "eval/loss_untrained": bootstrap(before, seed=training.seed),
        "eval/loss": bootstrap(after, seed=training.seed),
        "eval/loss_change": bootstrap(after - before, seed=training.seed),
    }
    more, of_what = dict(more or {}), training.evaluate.objective.prediction_type
    numbers = {k: of.to_json() for k, of in found.items()}
    tracker.log_metrics({**numbers, **more, "prediction_type": of_what})
    tracker.log_summary({**found, **more})
    rows = [{"error on the concept": k.removeprefix("eval/"), "": str(v)} for k, v in found.items()]
    print(format_table(rows))
