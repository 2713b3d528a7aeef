"""Custom Diffusion that others trained: with diffusers' script, or with its authors' own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hw2.data.torch_files import load_torch, refuse_unusual
from hw2.errors import CheckpointError, DataError
from hw2.personalize.deltas import LOW_RANK, WEIGHTS, Deltas, max_bytes, of_processors, refuse_unfit
from hw2.personalize.embeddings import PICKLED, checked_row, read_embeddings, read_tensors
from hw2.weights import read_meta

PICKLED_WEIGHTS = "pytorch_custom_diffusion_weights.bin"  # diffusers' name
DELTA = "delta.bin"  # the authors' name


def others_file(place: Path) -> Path | None:
    """The file of weights in the folder `place`, or `place` itself, if others trained them.

    Weights of this project beside it go first. What is wrong with a file, `read_others` tells.
    """
    if place.is_file():
        return place if place.suffix in PICKLED else None
    if (path := place / WEIGHTS).is_file():
        try:
            read_meta(path)  # the header alone
        except CheckpointError:
            return path
        return None
    if (place / LOW_RANK).is_file():
        return None
    names = (PICKLED_WEIGHTS, DELTA)
    return next((path for name in names if (path := place / name).is_file()), None)


def read_others(path: Path, base: str, base_weights: Mapping[str, Tensor]) -> Deltas:
    """What others learnt, by `others_file`, for the model whose `base_hash` is `base`.

    Of diffusers' script: keys and values as attention processors, and beside them a file a token.
    Of the authors': {"unet": {name: weight}, "modifier_token": {token: row}} (Kumari et al. 2023).
    They do not tell their base model, which is taken to be this.

    Raises CheckpointError for a file that is torn, holds code, has not all layers or others (as
    where queries were trained too), a text encoder, no token, or values that are not finite floats.
    """
    found = _read(path, max_bytes(base_weights))
    width = next(iter(base_weights.values())).shape[1]
    if "unet" in found or "modifier_token" in found:
        if more := found.keys() - {"unet", "modifier_token"}:
            raise CheckpointError(
                f"{path}: brings {min(more)} too: want keys and values, and rows of tokens, alone"
            )
        weights, rows = found.get("unet"), found.get("modifier_token", {})
        if not (isinstance(rows, dict) and all(isinstance(token, str) for token in rows)):
            raise CheckpointError(f"{path}: its modifier_token is no table of tokens and rows")
        rows = {token: checked_row(path, token, row, width) for token, row in rows.items()}
    else:
        weights = of_processors(found)
        files = _token_files(path.parent)
        rows = {one.token: one.row for file in files for one in read_embeddings(file, width)}
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise CheckpointError(f"{path}: holds no whole weights by their names")
    if not rows:
        raise CheckpointError(
            f"{path}: no token there: put its file, as <new1>.bin, beside these weights, and give "
            "the folder of both"
        )
    refuse_unfit(str(path), weights, base_weights)
    return Deltas(base, {name: weights[name].float() for name in base_weights}, rows, {})


def _token_files(folder: Path) -> list[Path]:
    """The files of token embeddings in a folder of diffusers' script."""
    kinds, others = (".safetensors", *PICKLED), (WEIGHTS, PICKLED_WEIGHTS)
    files = (path for path in folder.iterdir() if path.is_file() and path.suffix in kinds)
    return sorted(path for path in files if path.name not in others)


def _read(path: Path, limit: int) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return read_tensors(path, limit)[0]
    try:
        found = load_torch(path, limit)
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise DataError("want a table of names and tensors")
        tables = [found, *(value for value in found.values() if isinstance(value, dict))]
        values = [value for table in tables for value in table.values()]
        refuse_unusual((value for value in values if isinstance(value, Tensor)), limit)
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return found
