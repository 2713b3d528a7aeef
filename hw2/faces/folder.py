"""Folders of faces: what is to draw, what is there, what is written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hw2.data.drawn import read_made
from hw2.data.files import sha256_of
from hw2.disclosure import warn
from hw2.faces.drawing import draw_faces, to_bytes
from hw2.faces.loading import load_face_model
from hw2.figures.files import write_atomic
from hw2.figures.grid import to_pil
from hw2.pieces import MakeWork, Piece, Pool, Work
from hw2.progress import progress
from hw2.settings.faces import FaceJobConfig
from hw2.weights import refuse_replaced


@dataclass(frozen=True)
class Wanted:
    """A picture to draw: its file's stem, its starting noise, eta, and the index of fresh noise."""

    name: str
    start: Float[Tensor, "3 h w"]
    eta: float
    index: int


def picture_path(out: Path, name: str) -> Path:
    """Where the picture called `name` goes."""
    return out / f"{name}.png"


def pieces_to_draw(wanted: Sequence[Wanted], chunk: int, out: Path) -> tuple[list[Piece], int]:
    """Chunks of one eta that are not wholly in `out`, and how many pictures are.

    A chunk is always drawn in full, so that its bytes do not depend on what is there.
    """
    pieces, done = [], 0
    for _, group in groupby(range(len(wanted)), key=lambda i: wanted[i].eta):
        rows = list(group)
        for rows_of_chunk in (rows[i : i + chunk] for i in range(0, len(rows), chunk)):
            if all(picture_path(out, wanted[i].name).is_file() for i in rows_of_chunk):
                done += len(rows_of_chunk)
            else:
                pieces.append({"rows": rows_of_chunk})
    return pieces, done


def make_worker(config: FaceJobConfig, weights: Path, wanted: Sequence[Wanted]) -> MakeWork:
    """What an actor does: load the model once, then draw chunks.

    A short chunk is filled up with its last picture, which is drawn and left out: the batch size
    moves the last bits, and a noise has the same bytes in every job. CheckpointError there if
    `weights` are no longer what they are now.
    """
    known = sha256_of(weights)

    def make(on_gpu: bool) -> Work:
        model = load_face_model(weights).to(torch.device("cuda" if on_gpu else "cpu"))
        refuse_replaced(weights, known)

        def work(piece: Piece) -> Piece:
            rows = [wanted[i] for i in piece["rows"]]
            full = rows + [rows[-1]] * (config.noises_per_chunk - len(rows))
            pictures = draw_faces(
                model,
                torch.stack([row.start for row in full]),
                config,
                eta=rows[0].eta,
                seed=config.seed,
                indices=[row.index for row in full],
                precision=config.precision,
            )[: len(rows)]
            return {**piece, "images": to_bytes(pictures, config.pixel_range).numpy()}

        return work

    return make


def write_pieces(results: Iterable[Piece], wanted: Sequence[Wanted], out: Path) -> Iterator[int]:
    """Write each result's pictures; yields how many it had. Files appear whole or not at all."""
    for result in results:
        pictures = to_pil(torch.from_numpy(np.array(result["images"])))
        for i, picture in zip(result["rows"], pictures, strict=True):
            write_atomic(picture_path(out, wanted[int(i)].name), picture)
        yield len(pictures)


def draw_wanted(
    config: FaceJobConfig, make: MakeWork, wanted: Sequence[Wanted], out: Path, pool: Pool
) -> None:
    """Draw by `pool` what is not in `out` yet; `make` is that of `make_worker`."""
    usual = type(config).model_fields["noises_per_chunk"].default
    if (size := config.noises_per_chunk) > max(len(wanted), usual):
        warn(f"noises_per_chunk={size}: {size} are drawn for {len(wanted)} pictures")
    pieces, done = pieces_to_draw(wanted, config.noises_per_chunk, out)
    with progress(len(wanted), "drawing", "faces", done) as bar:
        results = pool(make, pieces, config.scaling)
        for count in write_pieces(results, wanted, out):
            bar.advance(count)


def read_drawn(names: Sequence[str], out: Path) -> UInt8[Tensor, "n 3 h w"]:
    """The pictures called `names` in `out`. Raises DataError for one that was spoilt since."""
    return read_made([picture_path(out, name) for name in names])
