"""Zero-shot classification from what its job left: accuracies, hits and misses, the confusions."""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from hw2.clip.plan import find_pictures
from hw2.clip.results import Predictions
from hw2.clip.scores import SCORES, examples
from hw2.data.images import decode_bytes, decode_named
from hw2.data.listing.parts import read_part
from hw2.data.listing.pictures import Listing
from hw2.errors import DataError
from hw2.metrics.intervals import wilson
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import Cell, Said, Sources, Table, number, points, shown, size, sources
from hw2.report.pictures import Picture, picture
from hw2.settings.zero_shot import ClipZeroShotConfig

SIDE = 64  # pixels of an example, at most
A_CELL = 3  # examples of a cell of the matrix
MAX_CELLS = 300  # with examples, the most frequent confusions first
WORST = 10


@dataclass(frozen=True)
class Example:
    """A classified picture."""

    picture: Picture
    true: str
    said: str
    probability: str


@dataclass(frozen=True)
class Matrix:
    """How often each class was taken for each: cells (true, said, times) that are not 0.

    `examples` are of cells by their place in `cells`.
    """

    names: tuple[str, ...]
    cells: tuple[tuple[int, int, int], ...]
    totals: tuple[int, ...]
    examples: Mapping[int, tuple[Example, ...]]
    first: int  # the place of the cell that is shown first

    @property
    def pairs(self) -> int:
        """How many confusions there could be."""
        return len(self.names) * (len(self.names) - 1)

    def opacity(self, place: int) -> float:
        """Of a cell: by its share of its row, of wrong answers against the largest wrong share."""
        true, said, _ = self.cells[place]
        most = 1.0 if true == said else self._largest_wrong
        return round(0.25 + 0.75 * self._share(place) / most, 3)

    @cached_property
    def _largest_wrong(self) -> float:
        wrong = [place for place, (true, said, _) in enumerate(self.cells) if true != said]
        return max(map(self._share, wrong))

    def _share(self, place: int) -> float:
        true, _, times = self.cells[place]
        return times / self.totals[true]


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
    matrix = _matrix(predictions, names, album)
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
        _worst(matrix),
    )


class Album:
    """Reads pictures of a listing by their place among the predictions."""

    def __init__(self, listing: Listing, paths: Sequence[str]) -> None:
        place = {name: row for row, name in enumerate(listing.table["name"].to_pylist())}
        missing = next((path for path in paths if path not in place), None)
        if missing is not None:
            raise DataError(f"{missing} was classified and is no longer among the pictures")
        self.listing, self.rows = listing, [place[path] for path in paths]
        self._kept: dict[int, Picture] = {}

    def load(self, places: Sequence[int]) -> None:
        """Read them all at once."""
        wanted = sorted({self.rows[place] for place in places} - self._kept.keys())
        part = self.listing.take(wanted)
        for row, (_, data, reason) in zip(wanted, read_part(part), strict=True):
            if data is None:
                raise DataError(f"a classified picture cannot be read: {reason}")
            image = Image.fromarray(decode_bytes(data))
            image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
            self._kept[row] = picture(np.asarray(image))

    def show(
        self, places: Sequence[int], predictions: Predictions, names: Sequence[str]
    ) -> tuple[Example, ...]:
        """The pictures at `places`, with what they are and what was said."""
        self.load(places)
        return tuple(
            Example(
                self._kept[self.rows[place]],
                names[int(predictions.labels[place])],
                names[int(predictions.classes[place, 0])],
                f"{float(predictions.probabilities[place, 0]):.1%}".replace("%", " %"),
            )
            for place in places
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


def _matrix(predictions: Predictions, names: tuple[str, ...], album: Album) -> Matrix:
    pairs = list(zip(predictions.labels.tolist(), predictions.classes[:, 0].tolist(), strict=True))
    counted = Counter(pairs)
    cells = tuple((true, said, times) for (true, said), times in sorted(counted.items()))
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        if len(places[pair]) < A_CELL:
            places[pair].append(place)
    rank = sorted(range(len(cells)), key=lambda i: (cells[i][0] == cells[i][1], -cells[i][2]))
    chosen = rank[:MAX_CELLS]
    album.load([place for i in chosen for place in places[cells[i][:2]]])
    found = {i: album.show(places[cells[i][:2]], predictions, names) for i in sorted(chosen)}
    totals = Counter(true for true, _ in pairs)
    return Matrix(names, cells, tuple(totals[i] for i in range(len(names))), found, rank[0])


def _worst(matrix: Matrix) -> Table:
    wrong = [cell for cell in matrix.cells if cell[0] != cell[1]]
    rows = [
        (
            Cell(matrix.names[true]),
            Cell(matrix.names[said]),
            Cell(str(times), times),
            number(wilson(times, matrix.totals[true]), ".0%"),
        )
        for true, said, times in heapq.nlargest(WORST, wrong, key=lambda cell: cell[2])
    ]
    return Table(("table.true", "table.said", "table.times", "table.share"), tuple(rows))


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
