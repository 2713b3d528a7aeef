"""The trainings of concepts, in one table."""

from collections.abc import Sequence
from dataclasses import dataclass

from hw2.metrics.intervals import Interval
from hw2.report.outputs import JobOutput
from hw2.report.parts import Cell, Sources, Table, number, sources
from hw2.report.sentences import Said


@dataclass(frozen=True)
class Training:
    """A row of the table of trainings, how its error changed, and whether it is of v."""

    job: JobOutput
    row: tuple[Cell, ...]
    change: Interval
    of_v: bool


@dataclass(frozen=True)
class Trained:
    """The error of each training on its concepts' pictures, before and after.

    `of_v`: the network predicts v and not the noise.
    """

    source: Sources
    of_v: bool
    table: Table
    said: tuple[Said, ...]


def training(job: JobOutput) -> Training:
    """A training of jobs.textual_inversion or jobs.custom_diffusion."""
    keys = ("eval/loss_untrained", "eval/loss", "eval/loss_change")
    before, after, change = map(job.interval, keys)
    train = job.config["train"]
    steps, rate = train["num_steps"], train["learning_rate"]
    captions = job.config["templates"]
    row = (
        Cell(job.name),
        Cell(", ".join(map(str, job.config.get("sources") or [job.config.get("source")]))),
        Cell(str(steps), steps),
        Cell(f"{rate:g}", rate),
        Cell(captions if isinstance(captions, str) else ", ".join(map(str, captions))),
        number(before),
        number(after),
        number(change),
    )
    return Training(job, row, change, job.metric("prediction_type") == "v_prediction")


def trained(trainings: Sequence[Training]) -> Trained:
    """All of them in one table."""
    settings = ("step", "source", "steps", "rate", "templates")
    columns = (*settings, "loss_before", "loss_after", "loss_change")
    better = sum(one.change.high < 0 for one in trainings)
    said = [Said("p3.trained", {"better": str(better), "n": str(len(trainings))})]
    worse = tuple(one.job.name for one in trainings if one.change.low > 0)
    if worse:
        said.append(Said("p3.trained_worse", {"steps": worse}))
    table = Table(tuple(f"table.{c}" for c in columns), tuple(one.row for one in trainings))
    source = sources(*(one.job for one in trainings), keys=("model", "precision"))
    return Trained(source, trainings[0].of_v, table, tuple(said))
