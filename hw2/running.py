"""Running a training in this process: who writes, and what goes to the run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from PIL import Image

from hw2.allocator import fills_gpu
from hw2.bucket.mirror import Mirror
from hw2.disclosure import warn
from hw2.errors import FAILING, Hw2Error, StorageError, wants_room
from hw2.events import Begun, Kept, Row, Saved
from hw2.figures.charts import curves
from hw2.gradients import Place
from hw2.runlog.tracker import Tracker
from hw2.training import Training, train

SHOWN = ("train/loss", "eval/loss", "train/gradient_norm")  # of a row, in figures/training.png


def _alone(step: int, error: Hw2Error | None = None) -> None:
    if error is not None:
        raise error


@contextmanager
def _kept(errors: list[Hw2Error], out: Path) -> Iterator[None]:
    """Adds what ends the block to `errors` if it is ours or of a full or failing disk."""
    try:
        yield
    except Hw2Error as error:
        errors.append(error)
    except OSError as error:
        if not wants_room(error) and error.errno not in FAILING:
            raise
        way_out = "make room" if wants_room(error) else "mend that, or give another path"
        where = error.filename or out  # of a write the system names no file
        said = f"cannot write {where} ({error.strerror}): {way_out}"
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
        for seen in train(training, place):
            if isinstance(seen, Saved):
                after_checkpoint(seen.step)
        return
    errors, shown = list[Hw2Error](), time.monotonic()
    with ExitStack() as held:
        with _kept(errors, training.out):
            tracker = held.enter_context(Tracker.attach(training.out, mirror=mirror))
        events = train(training, place, *errors)  # raises it on all: the others would wait
        event = next(events, None)
        while event is not None:
            with _kept(errors, training.out):
                if errors:
                    pass  # no row after a lost one: all go on from the checkpoint before
                elif isinstance(event, Begun):
                    tracker.add_to_tag("starts", f"step {event.step} on {_workers(place)}")
                elif isinstance(event, Row):
                    tracker.log_row(event.step, event.values)
                elif isinstance(event, Kept):
                    if mirror:
                        mirror.push()
                elif event.error is not None:
                    raise event.error
                else:
                    ending = event.step == training.config.num_steps
                    if ending or time.monotonic() - shown >= training.show_every:
                        if (picture := _shown(training, event)) is not None:
                            tracker.log_picture(f"step_{event.step:08d}", picture)
                        shown = time.monotonic()
                    if mirror:
                        mirror.push()
            if errors and place.world_size == 1:
                raise errors[0]
            if isinstance(event, Saved):
                after_checkpoint(event.step, *errors[:1])
            thrown = errors and isinstance(event, Row)
            event = events.throw(errors[0]) if thrown else next(events, None)
        with _kept(errors, training.out):
            _draw_curves(tracker)
            if mirror:
                mirror.push()
            tracker.flush()
        if errors:
            raise errors[0]


def _workers(place: Place) -> str:
    """How many, and on which GPU worker 0 is: each kind draws random numbers of its own."""
    name = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else ""
    return f"{place.world_size} {name}".strip()


def _shown(training: Training, saved: Saved) -> Image.Image | None:
    """The picture of a checkpoint, if there is one and the GPU has room to draw it."""
    try:
        return training.show(saved)
    except RuntimeError as error:
        if not fills_gpu(error):
            raise
        warn(f"step {saved.step}: no sheet is drawn: the GPU has too little memory beside training")
        return None


def _draw_curves(tracker: Tracker) -> None:
    rows = [{"step": entry.step, **entry.values} for entry in tracker.journal.rows()]
    if keys := [key for key in SHOWN if any(key in row for row in rows)]:
        tracker.log_picture("training", curves(rows, keys))
