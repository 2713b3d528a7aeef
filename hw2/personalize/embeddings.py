"""Files of token embeddings: diffusers' form, and older pickled ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hw2.claims import tensor_names
from hw2.data.files import no_file, parse_json
from hw2.data.torch_files import load_torch, refuse_unusual
from hw2.disclosure import plain, writable
from hw2.errors import CheckpointError, DataError
from hw2.weights import described, write_tensors

MAX_BYTES = 16 * 2**20  # a row of 768 is 3 KiB; some files hold hundreds
PICKLED = (".bin", ".pt", ".pth")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class TokenEmbedding:
    """A token and its row of the text encoder's table, float32."""

    token: str
    row: Float[Tensor, " width"]


class _Parameters:
    """The state of a pickled nn.ParameterDict, which is read without its methods."""

    _parameters: dict[str, Tensor]


ALLOWED: list[Any] = [(_Parameters, "torch.nn.modules.container.ParameterDict")]


def save_embedding(path: Path, embedding: TokenEmbedding, about: Mapping[str, Any]) -> None:
    """Write what diffusers' `load_textual_inversion` reads: safetensors of {token: (1, width)}.

    `about` is kept as JSON in the header. Whole or not at all, as `hw2.weights.write_tensors`.
    """
    row = embedding.row.detach().float().cpu()[None].clone()
    write_tensors(path, {embedding.token: row}, described(about))


def read_embeddings(
    path: Path, width: int | None = None, token: str | None = None
) -> list[TokenEmbedding]:
    """The tokens and rows in `path`, an embedding of whatever origin.

    Forms: {token: row} of diffusers as .safetensors, .bin, .pt or .pth; and, of the last three,
    {"string_to_param": {"*": row}, "name": ..} as saved by the first textual inversion (Gal et al.
    2023), the course and AUTOMATIC1111; where `token` is given, the row alone too.

    Args:
        path: the file.
        width: of the text encoder's rows; None: any.
        token: what the one token shall be called; None: the file's name for it, which is often *.

    Raises:
        CheckpointError: the file is missing, torn, too large, holds code, another form, rows that
            are not finite floats or of another width, tokens of several rows, or, where `token` is
            given, several tokens.
    """
    if path.suffix == ".safetensors":
        found: Any = read_tensors(path, MAX_BYTES)[0]
    elif path.suffix in PICKLED:
        try:
            with torch.serialization.safe_globals(ALLOWED):
                found = load_torch(path, MAX_BYTES)
        except DataError as error:
            raise CheckpointError(f"{path}: {error}") from None
    else:
        raise CheckpointError(f"{path}: want a file .safetensors, {', '.join(PICKLED)}")
    if isinstance(found, Tensor) and token is None:
        raise CheckpointError(
            f"{path}: has a row, but not its token's name: give it as TOKEN=FILE, for instance "
            f"<new1>={path.name}"
        )
    rows: dict[Any, Any] = {token: found} if isinstance(found, Tensor) else _rows_by_token(found)
    if not rows or not all(isinstance(key, str) for key in rows):
        raise CheckpointError(f"{path}: no token embedding of diffusers or AUTOMATIC1111")
    if token is not None:
        if len(rows) > 1:
            raise CheckpointError(
                f"{path}: has {len(rows)} tokens ({', '.join(sorted(rows)[:5])}), which cannot all "
                f"be {token}: give files of one"
            )
        rows = {token: next(iter(rows.values()))}
    return [TokenEmbedding(name, checked_row(path, name, row, width)) for name, row in rows.items()]


def _rows_by_token(found: Any) -> dict[Any, Any]:
    if not isinstance(found, dict):
        return {}
    if "string_to_param" not in found:
        return found
    rows = found["string_to_param"]
    if isinstance(rows, _Parameters):
        rows = vars(rows).get("_parameters")
    if not isinstance(rows, dict):
        return {}
    name = found.get("name")
    if isinstance(name, str) and name and len(rows) == 1:
        return {name: next(iter(rows.values()))}
    return rows


def checked_row(path: Path, token: str, row: Any, width: int | None) -> Float[Tensor, " width"]:
    """`row`, of the file `path`, in float32 as (width,), or CheckpointError."""
    if not writable(token):
        raise CheckpointError(
            f"{path}: its token {plain(token)} is no text in UTF-8: save it by another name"
        )
    if not isinstance(row, Tensor) or row.dtype not in FLOATS or row.ndim not in (1, 2):
        kind = f"{row.dtype} {tuple(row.shape)}" if isinstance(row, Tensor) else type(row).__name__
        raise CheckpointError(f"{path}: {token} is {kind}, want a row of floats")
    try:
        refuse_unusual([row], MAX_BYTES)
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if row.ndim == 2 and len(row) != 1:
        raise CheckpointError(
            f"{path}: {token} has {len(row)} rows, want one: make it with one vector a token"
        )
    row = row.detach().to(torch.float32, copy=True).reshape(-1)
    if width is not None and len(row) != width:
        raise CheckpointError(
            f"{path}: {token} has {len(row)} numbers, the text encoder is {width} wide: "
            "it is of another base model"
        )
    if not len(row) or not row.isfinite().all():
        raise CheckpointError(f"{path}: {token} holds nan or infinity, or nothing")
    return row


def read_tensors(path: Path, max_bytes: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, and what it is `described` by, {} if nothing.

    Raises CheckpointError if it is missing, over `max_bytes`, torn, of tens of thousands of
    tensors, or its header is false.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: {no_file(path)}")
    if (size := path.stat().st_size) > max_bytes:
        raise CheckpointError(
            f"{path}: {size / 2**20:.0f} MiB is over the allowed {max_bytes / 2**20:.0f} MiB"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in tensor_names(path, file)}
            meta = parse_json((file.metadata() or {}).get("hw2", "{}"))
    except CheckpointError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    return tensors, meta if isinstance(meta, dict) else {}
