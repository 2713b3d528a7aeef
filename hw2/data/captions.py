"""Reading the CLIP part of a data tree: pictures with captions, pictures with class names."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hw2.data.files import MAX_TABLE_BYTES, inside, read_text, reading
from hw2.data.images import SUFFIXES, decode
from hw2.data.labels import read_labels
from hw2.data.tables import BadRow, left_out
from hw2.disclosure import warn
from hw2.errors import DataError
from hw2.pixels import stacked


@dataclass(frozen=True)
class CaptionSet:
    """Pictures 0..255 and one caption each.

    `content_hash` is the sha256 over pixels and captions; `bad` are rows left out.
    """

    images: UInt8[Tensor, "n 3 h w"]
    captions: tuple[str, ...]
    content_hash: str
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class ClassSet:
    """Pictures 0..255, the label of each, and the name of each label 0, 1, ..

    `content_hash` is the sha256 over pixels, labels and names; `bad` are pictures left out.
    """

    images: UInt8[Tensor, "n 3 h w"]
    labels: Int64[Tensor, " n"]
    names: tuple[str, ...]
    content_hash: str
    bad: tuple[BadRow, ...] = ()


def clip_folder(root: Path) -> Path:
    """The CLIP part of the data tree at `root`."""
    return root / "clip_zeroshot"


def text2image_folder(root: Path) -> Path:
    """The part of the data tree at `root` that a small text-to-image model is trained on."""
    return root / "text2image"


def train_folder(part: Path) -> Path:
    """Captioned pictures of a part of the offline tree, beside what the course gives."""
    return part / "train"


def captions_csv(part: Path) -> Path:
    """Their captions: first column the file name, second the caption."""
    return part / "train.csv"


def val_folder(root: Path) -> Path:
    """Pictures named `{class}_{n}.png`."""
    return clip_folder(root) / "val"


def labels_file(root: Path) -> Path:
    """The names of the classes, {"0": "name", ..}."""
    return clip_folder(root) / "id2label.json"


def read_captions(
    part: Path, image_size: int, *, skip_bad: bool = False, as_concepts: bool = False
) -> CaptionSet:
    """The captioned pictures of a part of the tree, square of `image_size`.

    Their proportions are not kept; `as_concepts`: the middle square of each, upright.

    Raises DataError for a table that is missing, empty or not text, and for the first bad row
    (an unusable file name, no caption or part of one, a broken picture) unless `skip_bad` leaves
    these out.
    """
    file, folder = captions_csv(part), train_folder(part)
    pictures: list[np.ndarray] = []
    captions: list[str] = []
    bad: list[BadRow] = []
    (_, header), *rows = _table(file, as_concepts)
    columns = max(len(header), 2)
    for line, cells in rows:
        try:
            if len(cells) < 2 or not cells[1].strip():
                raise DataError("the row needs two columns, file name and caption")
            refuse_cut(cells[1], columns, cells[columns:])
            name = cells[0].strip()
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise DataError(f"{name[:200]!r} is not the name of a file in {folder}")
            pixels = _decode(folder / name, image_size, as_concepts)
        except DataError as error:
            if as_concepts:  # whose job has no such setting
                raise DataError(f"{file}:{line}: {error}: mend it, or take that row out") from None
            bad.append(left_out(BadRow(str(file), line, str(error)), skip_bad))
            continue
        pictures.append(pixels)
        captions.append(cells[1].strip())
    if not pictures:
        raise DataError(f"{file}: holds no usable row: it needs image_name,caption and a picture")
    images = stacked(pictures)
    return CaptionSet(images, tuple(captions), _hash(images, captions), tuple(bad))


def refuse_cut(caption: str, columns: int, beyond: Sequence[str]) -> None:
    """Raise DataError if a CSV's row read its caption wrong; `beyond`: its cells past the header's.

    A comma outside quotes cuts a caption, and a quote that is not closed swallows rows.
    """
    if any(cell.strip() for cell in beyond):
        found = columns + len(beyond)
        raise DataError(f"has {found} cells, the header {columns}: put the caption in quotes")
    if "\n" in (text := caption.strip()) or "\r" in text:
        raise DataError(
            f"its caption {text[:80]!r} goes over several lines: close its quotes, or write it in "
            "one line"
        )


def warn_of_cut(lengths: Sequence[int], limit: int) -> None:
    """One line on stderr if captions have more than the `limit` tokens that a model reads."""
    if cut := sum(length > limit for length in lengths):
        warn(f"{cut} of {len(lengths)} captions are cut at {limit} tokens")


def read_classes(root: Path, image_size: int, *, skip_bad: bool = False) -> ClassSet:
    """The val pictures of the tree at `root`, square of `image_size`, by class and number.

    Raises DataError for a missing folder, names that are not those of labels 0, 1, .. in
    id2label.json, and for the first bad picture unless `skip_bad` leaves these out.
    """
    names, folder = _names(labels_file(root)), val_folder(root)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of pictures: {_advice()}")
    pictures: list[np.ndarray] = []
    labels: list[int] = []
    bad: list[BadRow] = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        try:
            label = path.stem.partition("_")[0]
            if not (label.isdecimal() and int(label) < len(names)):
                raise DataError(f"its name has no class 0..{len(names) - 1} before a _")
            pixels = _decode(path, image_size)
        except DataError as error:
            bad.append(left_out(BadRow(str(path), 0, str(error)), skip_bad))
            continue
        pictures.append(pixels)
        labels.append(int(label))
    if not pictures:
        raise DataError(f"{folder}: holds no pictures: {_advice()}")
    images = stacked(pictures)
    sha256 = _hash(images, [labels, names])
    return ClassSet(images, torch.tensor(labels), names, sha256, tuple(bad))


def _advice(as_concepts: bool = False) -> str:
    at = "--prior.folder at such a folder" if as_concepts else "--data.root at an hw2_data tree"
    return f"point {at}, or run `python -m jobs.prepare_data`"


def _decode(path: Path, image_size: int, as_concepts: bool = False) -> np.ndarray:
    try:
        if os.path.islink(path) and not inside(path, path.parent):
            raise DataError("it leaves the folder by a link")
        return decode(path, image_size, upright=as_concepts, middle=as_concepts)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None


def _table(file: Path, as_concepts: bool) -> list[tuple[int, list[str]]]:
    """The header of a CSV and the rows below it, with their lines."""
    with reading(file, _advice(as_concepts)):
        text = read_text(file, MAX_TABLE_BYTES)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header, *rows = [(reader.line_num, cells) for cells in reader if cells] or [(1, [])]
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: not a CSV ({error})") from None
    if "".join(header[1][:1]).strip().lower().endswith(SUFFIXES):
        raise DataError(
            f"{file}:{header[0]}: the header is missing: put a line `image_name,caption` before "
            "the rows"
        )
    return [header, *rows]


def _names(file: Path) -> tuple[str, ...]:
    try:
        labels = read_labels(file)
    except DataError as error:
        way_out = "" if os.path.exists(file) else f": {_advice()}"
        raise DataError(f"{error}{way_out}") from None
    if labels.ids != tuple(map(str, range(len(labels.ids)))):
        raise DataError(
            f"{file}: its ids are {', '.join(labels.ids)[:80]}: want names by label from 0 on, "
            '{"0": "red_brick", "1": ..}'
        )
    return labels.names


def _hash(images: Tensor, about: object) -> str:
    digest = hashlib.sha256(json.dumps([images.shape, about]).encode())
    digest.update(images.numpy().data)
    return digest.hexdigest()
