"""Zero-shot classification from what its job left: accuracies, hits and misses, the confusions."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hw2.clip.plan import find_pictures
from hw2.clip.results import Predictions
from hw2.clip.scores import SCORES, examples
from hw2.data.images import decode_named
from hw2.data.listing.pictures import Listing
from hw2.errors import DataError
from hw2.report.confusions import Album, Example, Matrix, confusions, worst
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import Cell, Sources, Table, number, sources
from hw2.report.pictures import Picture, picture
from hw2.report.sentences import Said, points, shown, size
from hw2.settings.zero_shot import ClipZeroShotConfig


@dataclass(frozen=True)
class ZeroShot:
    """All of the section."""

    source: Sources
    model: str
    prompts: str  # the set of the pictures and of the matrix
    scores: Table
    comparisons: Table
    said: tuple[Said, ...]
    hits: tuple[Example, ...]
    misses: tuple[Example, ...]
    similarity: Picture
    matrix: Matrix
    worst: Table


def zero_shot(job: JobOutput) -> ZeroShot:
    """The results of jobs.clip_zero_shot; pictures and matrix are of its first prompt set."""
    config = ClipZeroShotConfig.model_validate_json(json.dumps(dict(job.config)), strict=True)
    first = next(iter(job.metric("prompt_sets")))
    listing = find_pictures(config)
    predictions, paths, names = _predictions(job.out / "predictions" / first, listing)
    album = Album(listing, paths)
    groups = examples(predictions, config.num_examples, config.seed)
    hits, misses = (album.show(group.places, predictions, names) for group in groups[:2])
    matrix = confusions(predictions, names, album)
    keys = ("images", "model", "pretrained", "templates", "precision")
    return ZeroShot(
        sources(job, keys=keys),
        job.clip_name,
        first,
        _scores(job),
        _comparisons(job),
        _said(job, first),
        hits,
        misses,
        picture(decode_named(job.out / "figures" / f"similarity_{first}.png")),
        matrix,
        worst(matrix),
    )


def _predictions(folder: Path, listing: Listing) -> tuple[Predictions, list[str], tuple[str, ...]]:
    """What the job wrote: classes as numbers, the pictures' names, the classes' names."""
    files = sorted(folder.glob("part-*.parquet"))
    if not files:
        raise DataError(f"{folder} has no predictions")
    try:
        columns = ["path", "label", "top5", "top5_probability"]
        table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{folder}: not a table of predictions ({error})") from None
    names = tuple(listing.labels.names)
    number_of = {name: number for number, name in enumerate(names)}
    try:
        labels = [number_of[name] for name in table["label"].to_pylist()]
        classes = [[number_of[name] for name in row] for row in table["top5"].to_pylist()]
    except KeyError as error:
        raise DataError(f"{folder}: {error} is not one of the classes") from None
    found = Predictions(
        torch.arange(len(labels)),
        torch.tensor(labels),
        torch.tensor(classes),
        torch.tensor(table["top5_probability"].to_pylist(), dtype=torch.float32),
    )
    return found, table["path"].to_pylist(), tuple(" ".join(name.split()) for name in names)


def _scores(job: JobOutput) -> Table:
    rows = [
        (
            Cell(name),
            *(number(job.interval("prompt_sets", name, k), s) for k, (_, s) in SCORES.items()),
        )
        for name in job.metric("prompt_sets")
    ]
    return Table(("table.prompts", *(f"score.{key}" for key in SCORES)), tuple(rows))


def _comparisons(job: JobOutput) -> Table:
    rows = []
    for one in job.metric("comparisons"):
        difference = points(as_interval(one["difference"]))
        cells = (
            Cell(f"{one['b']} \u2212 {one['a']}"),
            Cell(difference, one["difference"]["value"]),
            Cell(f"{one['only_b_right']} : {one['only_a_right']}", one["only_b_right"]),
            Cell(f"{one['p_holm']:.2g}", one["p_holm"]),
        )
        rows.append(cells)
    return Table(("table.prompts", "table.points", "table.only", "table.p_holm"), tuple(rows))


def _said(job: JobOutput, first: str) -> tuple[Said, ...]:
    top1 = job.interval("prompt_sets", first, "top1")
    chance = float(job.metric("chance"))
    values = {
        "prompts": first,
        "top1": shown(top1, ".1%"),
        "top5": shown(job.interval("prompt_sets", first, "top5"), ".1%"),
        "chance": f"{100 * chance:.3g} %",
        "n": str(job.metric("prompt_sets", first, "top1", "n")),
    }
    said = [Said("p3.accuracy_above" if top1.low > chance else "p3.accuracy_not_above", values)]
    for one in job.metric("comparisons"):
        difference = as_interval(one["difference"])
        differ = one["p_holm"] < 0.05
        kind = ("better" if difference.value > 0 else "worse") if differ else "same"
        told = {
            "a": one["a"],
            "b": one["b"],
            "points": size(difference) if differ else points(difference),
            "p": f"{one['p_holm']:.2g}",
        }
        said.append(Said(f"p3.prompts_{kind}", told))
    return tuple(said)
