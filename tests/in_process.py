"""Running a whole training in this process, without Ray and MLflow."""

from pathlib import Path

from hw2.running import Training
from hw2.training import Row, train


def run_bare(training: Training) -> list[Row]:
    """Run a training to its end; its rows."""
    events = train(
        training.net,
        training.objective,
        training.source,
        training.config,
        seed=training.seed,
        out=training.out,
        meta=training.meta,
        evaluate=training.evaluate,
    )
    return [event for event in events if isinstance(event, Row)]


def final(training: Training) -> Path:
    """The weights at the end."""
    return training.out / "final.safetensors"
