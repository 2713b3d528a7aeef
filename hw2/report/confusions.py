"""Classified pictures, and how often each class was taken for each."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from hw2.clip.results import Predictions
from hw2.data.images import decode_bytes
from hw2.data.listing.parts import read_part
from hw2.data.listing.pictures import Listing
from hw2.errors import DataError
from hw2.metrics.intervals import wilson
from hw2.report.parts import Cell, Table, number
from hw2.report.pictures import Picture, picture

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


def confusions(predictions: Predictions, names: tuple[str, ...], album: Album) -> Matrix:
    """All cells, and of the most frequent confusions the first pictures of `album`."""
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


def worst(matrix: Matrix) -> Table:
    """The most frequent confusions, with their share of the class."""
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
