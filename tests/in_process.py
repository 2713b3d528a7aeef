"""Running a whole training in this process, without Ray and MLflow."""

from pathlib import Path

from hw2.events import Row
from hw2.training import Training, train


def run_bare(training: Training) -> list[Row]:
    """Run a training to its end; its rows."""
    return [event for event in train(training) if isinstance(event, Row)]


def final(training: Training) -> Path:
    """The weights at the end."""
    return training.out / "final.safetensors"
