"""Weights on disk: safetensors that say what they are of, written whole or not at all."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hw2.claims import (
    Claims,
    refuse_false,
    refuse_infinite,
    refuse_misfits,
    shapes_of,
    tensor_names,
)
from hw2.data.files import as_umask, no_file, parse_json, sha256_of
from hw2.errors import CheckpointError, StorageError, wants_room
from hw2.locate import FINAL, STATE

M = TypeVar("M", bound=nn.Module)
TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")  # how files of torch.save begin: new ones, and old


def described(meta: Mapping[str, Any]) -> dict[str, str]:
    """What a safetensors file says of itself in its header, where `read_meta` reads it."""
    return {"hw2": json.dumps(dict(meta), sort_keys=True)}


def save_weights(
    path: Path,
    weights: dict[str, nn.Module],
    meta: dict[str, Any],
    only: Collection[str] | None = None,
) -> None:
    """Write `path` (safetensors) with each module's weights under its prefix, and `meta` as JSON.

    `weights` is for instance {"net": net, "ema": ema}; of a module's weights all are written, or
    those named in `only`; whole or not at all (`write_tensors`).
    """
    tensors = {
        f"{prefix}.{name}": value.detach().cpu().contiguous()
        for prefix, module in weights.items()
        for name, value in module.state_dict().items()
        if only is None or name in only
    }
    write_tensors(path, tensors, described(meta))


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write `path` (safetensors) with `metadata` in its header, whole or not at all.

    Raises StorageError if the disk refuses it.
    """
    part = path.with_name(f".{path.name}.part")
    with told_if_refused(path):
        try:
            save_file(tensors, part, metadata=metadata)
            as_umask(part)
            sync(part)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)


def read_meta(path: Path) -> Claims:
    """The JSON that `save_weights` put into `path`.

    Raises CheckpointError if the file is missing, another's, torn, not safetensors or not ours.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: {no_file(path)}")
        os.close(os.open(path, os.O_RDONLY))  # safetensors calls one that it may not read missing
    except PermissionError as error:
        raise CheckpointError(
            f"{path}: may not be read ({error.strerror}): let its owner allow it (chmod), or give "
            "a copy of your own"
        ) from None
    try:
        with safe_open(path, framework="pt") as file:
            meta = (file.metadata() or {}).get("hw2")
    except (SafetensorError, OSError) as error:
        with contextlib.suppress(OSError), path.open("rb") as file:
            if file.read(4) in TORCH:
                raise CheckpointError(
                    f"{path}: a torch file, want safetensors: torch files are read of face models "
                    "and judges alone, if they end in .pt or .pth"
                ) from None
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    if meta is None and path.name == STATE:
        raise CheckpointError(
            f"{path}: has no hw2 metadata: an older version wrote this checkpoint, to go on from "
            f"alone; give the {FINAL} of its training"
        )
    if meta is None:
        raise CheckpointError(f"{path}: has no hw2 metadata; it was not written by this project")
    try:
        return Claims(path, parse_json(meta))
    except (ValueError, TypeError):  # no JSON, or no mapping
        raise CheckpointError(f"{path}: its hw2 metadata is broken") from None


def refuse_replaced(path: Path, known: str) -> None:
    """Raise CheckpointError if the bytes of `path`, just loaded, are not those of sha256 `known`.

    Actors load weights later than their job has hashed them, and one that is made anew much later.
    """
    if sha256_of(path) != known:
        raise CheckpointError(
            f"{path}: was replaced while the job ran: put back what it was, and the same command "
            "goes on, or choose another --out"
        )


def wrote_weights(path: Path, meta: Mapping[str, Any]) -> bool:
    """Whether `save_weights` wrote `path` with this `meta`, and it is as long as it was then."""
    try:
        return described(read_meta(path)) == described(meta)
    except CheckpointError:
        return False


def load_weights(
    path: Path, module: nn.Module, prefix: str, only: Collection[str] | None = None
) -> None:
    """Fill `module` with the weights stored under `prefix` in `path`; see `fill` for refusals.

    With `only`, `path` holds those weights alone, and the others stay as they are.
    """
    read_meta(path)
    found = read_part(path, f"{prefix}.")
    if only is not None:
        found = {k: v for k, v in module.state_dict().items() if k not in only} | found
    fill(module, found, path)


def read_part(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors in `path` whose names begin with `prefix`, by the rest of these.

    Raises CheckpointError for numbers of a kind that torch does not have.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in tensor_names(path, file) if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None


def load_claimed(path: Path, claims: Any, build: Callable[[], M], averaged: bool = True) -> M:
    """The network in `path`, made by `build`, to evaluate; see `refuse_false`, `fill`.

    Its weights are the averaged ones, or those as trained. Raises CheckpointError if `path` has
    none of the latter: a release has not.
    """
    refuse_false(path, claims, build)
    found = read_part(path, "ema." if averaged else "net.")
    if not (averaged or found):
        raise CheckpointError(
            f"{path}: has averaged weights alone, none as trained: give a training, or one of its "
            "checkpoints"
        )
    net = build()
    fill(net, found, path)
    return net.eval()


def fill(module: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Give `module` the weights `found`, which `path` held.

    Raises CheckpointError that names the first five missing, unknown or misshapen weights, or the
    first that holds nan or infinity.
    """
    want = module.state_dict()
    refuse_misfits(str(path), shapes_of(found), shapes_of(want))
    for name, value in want.items():
        if found[name].is_floating_point() != value.is_floating_point():
            raise CheckpointError(f"{path}: {name} is {found[name].dtype}, want {value.dtype}")
    refuse_infinite(str(path), found)
    module.load_state_dict(found)


@contextlib.contextmanager
def told_if_refused(path: Path) -> Iterator[None]:
    """Turns a write in the block that the disk refuses into a StorageError of one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        told = re.search(r"I/O error: .* \(os error (\d+)", str(error))
        if told:
            error = OSError(int(told[1]), os.strerror(int(told[1])))
        why = getattr(error, "strerror", None) or str(error)
        way_out = "make room" if wants_room(error) else "mend that"
        raise StorageError(
            f"cannot write {path} ({why}): what was saved before stays; {way_out}, and the same "
            "command goes on from there"
        ) from None


def sync(path: Path) -> None:
    """Have the disk keep a file's bytes, or a folder's names, before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
