"""What a training is made of, and running it in this process."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hw2.errors import NO_ROOM, Hw2Error, StorageError
from hw2.figures.charts import curves
from hw2.figures.files import write_atomic
from hw2.gradients import Objective, Place, Source
from hw2.mirror import Mirror
from hw2.runlog.tracker import Tracker
from hw2.settings.training import TrainConfig
from hw2.training import Begun, Evaluate, Row, Saved, train

SHOWN = ("train/loss", "eval/loss", "train/gradient_norm")  # of a row, in figures/training.png


@dataclass(frozen=True)
class Training:
    """Everything that `hw2.training.train` needs, and what to show at each checkpoint."""

    net: nn.Module
    objective: Objective
    source: Source
    config: TrainConfig
    seed: int
    out: Path
    meta: dict[str, Any] = field(default_factory=dict)
    evaluate: Evaluate | None = None
    show: Callable[[Saved, Tracker], None] = lambda saved, tracker: None


def _alone(step: int, error: Hw2Error | None = None) -> None:
    if error is not None:
        raise error


@contextmanager
def _kept(errors: list[Hw2Error]) -> Iterator[None]:
    """Adds what ends the block to `errors` if it is ours or a want of room, else lets it out."""
    try:
        yield
    except Hw2Error as error:
        errors.append(error)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        said = f"cannot write {error.filename} ({error.strerror}): make room"
        errors.append(StorageError(said))


def run(
    training: Training,
    place: Place | None = None,
    after_checkpoint: Callable[..., None] = _alone,
    mirror: Mirror | None = None,
) -> None:
    """Run `training` as one worker; worker 0 writes rows and pictures to the run of `out`.

    `after_checkpoint(step)` is called on every worker; on worker 0 with an Hw2Error behind, if one
    has come to it alone since the last: to be raised on all, since the others would wait for it.
    Worker 0 must be the only one that writes to `out`, which `mirror` brings to a bucket.
    """
    place = place or Place()
    if place.rank != 0:
        for seen in _events(training, place):
            if isinstance(seen, Saved):
                after_checkpoint(seen.step)
        return
    events, errors = _events(training, place), list[Hw2Error]()
    with Tracker.attach(training.out, mirror=mirror) as tracker:
        event = next(events, None)
        while event is not None:
            with _kept(errors):
                if errors:
                    pass  # no row after a lost one: all go on from the checkpoint before
                elif isinstance(event, Begun):
                    tracker.add_to_tag("starts", f"step {event.step} on {place.world_size}")
                elif isinstance(event, Row):
                    tracker.log_row(event.step, event.values)
                elif event.error is not None:
                    raise event.error
                else:
                    training.show(event, tracker)
                    if mirror:
                        mirror.push()
            if errors and place.world_size == 1:
                raise errors[0]
            if isinstance(event, Saved):
                after_checkpoint(event.step, *errors[:1])
            thrown = errors and isinstance(event, Row)
            event = events.throw(errors[0]) if thrown else next(events, None)
        with _kept(errors):
            _draw_curves(tracker)
            if mirror:
                mirror.push()
            tracker.flush()
        if errors:
            raise errors[0]


def _draw_curves(tracker: Tracker) -> None:
    rows = [{"step": entry.step, **entry.values} for entry in tracker.journal.rows()]
    if keys := [key for key in SHOWN if any(key in row for row in rows)]:
        path = tracker.out / "figures" / "training.png"
        write_atomic(path, curves(rows, keys))
        tracker.log_figure(path)


def _events(training: Training, place: Place) -> Generator[Begun | Row | Saved, None, None]:
    return train(
        training.net,
        training.objective,
        training.source,
        training.config,
        seed=training.seed,
        out=training.out,
        meta=training.meta,
        evaluate=training.evaluate,
        place=place,
    )
