"""Results of a zero-shot run: Parquet files on disk, and what is kept of them for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hw2.clip.plan import Plan
from hw2.clip.zero_shot import rank
from hw2.data.files import replacing
from hw2.data.labels import Labels


@dataclass(frozen=True)
class Predictions:
    """What one prompt set makes of the good pictures.

    `rows` are their places in the listing; `classes` and `probabilities` the five best, best first.
    """

    rows: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    classes: Int64[Tensor, "n k"]
    probabilities: Float[Tensor, "n k"]

    @property
    def right(self) -> Bool[Tensor, " n"]:
        """Whether the best class is the true one."""
        return self.classes[:, 0] == self.labels


def predict(plan: Plan, labels: Labels, name: str, out: Path, save_embeddings: bool) -> Predictions:
    """Rank the classes for every good picture, and write them to OUT/predictions/NAME.

    One Parquet file a part: path, label, top5 (class names, best first), top5_probability, and if
    wanted the embedding. A part at a time is held in memory, beside the five best of all.
    """
    folder = out / "predictions" / name
    folder.mkdir(parents=True, exist_ok=True)
    classes, scale = plan.classes(name)
    names = pa.array(labels.names)
    kept: list[Predictions] = []
    first = 0
    for number, part in enumerate(plan.parts):
        embeddings, reasons = plan.store.read(plan.content[number])
        at = np.flatnonzero([reason is None for reason in reasons])
        if len(at):
            top = rank(torch.from_numpy(embeddings[at]), classes, scale)
            truth = torch.from_numpy(part.table["label"].to_numpy()[at].astype(np.int64))
            kept.append(
                Predictions(torch.from_numpy(first + at), truth, top.classes, top.probabilities)
            )
            k = top.classes.shape[1]
            flat = pa.array(top.classes.numpy().ravel())
            probabilities = pa.array(top.probabilities.numpy().ravel())
            columns = {
                "path": part.table["name"].take(pa.array(at)),
                "label": names.take(pa.array(truth.numpy())),
                "top5": pa.FixedSizeListArray.from_arrays(names.take(flat), k),
                "top5_probability": pa.FixedSizeListArray.from_arrays(probabilities, k),
            }
            if save_embeddings:
                values = pa.array(embeddings[at].ravel())
                width = embeddings.shape[1]
                columns["embedding"] = pa.FixedSizeListArray.from_arrays(values, width)
            with replacing(folder / f"part-{number:05d}.parquet") as passing:
                pq.write_table(pa.table(columns), passing)
        first += len(reasons)
    joined = (torch.cat([getattr(p, key) for p in kept]) for key in Predictions.__annotations__)
    return Predictions(*joined)


def bad_pictures(plan: Plan) -> list[dict[str, str]]:
    """Path and reason of each picture that could not be used, in the listing's order."""
    bad = []
    for number, part in enumerate(plan.parts):
        for row, reason in enumerate(plan.store.reasons(plan.content[number])):
            if reason is not None:
                bad.append({"path": part.table["name"][row].as_py(), "reason": reason})
    return bad


def write_rows(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> None:
    """A Parquet table of texts; the columns are there also where it has no rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {name: pa.array([row[name] for row in rows], pa.string()) for name in columns}
    with replacing(path) as passing:
        pq.write_table(pa.table(table), passing)
