"""Checkpoints on disk: safetensors beside a manifest, written whole or not at all."""

import contextlib
import json
import math
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hw2.claims import Claims, refuse_infinite, refuse_misfits
from hw2.data.files import as_umask, parse_json, read_json, sha256_of
from hw2.errors import CheckpointError, StorageError
from hw2.locate import FINAL, STATE

MANIFEST = "manifest.json"  # beside STATE
TORN = (OSError, ValueError, KeyError, TypeError)  # what reading a damaged manifest may raise


def is_whole(folder: Path) -> bool:
    """Whether the checkpoint in `folder` is what its manifest says."""
    try:
        return sha256_of(folder / STATE) == read_json(folder / MANIFEST)["sha256"]
    except TORN:
        return False


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """A refused write as one line. What was there before stays."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        told = re.search(r"I/O error: (.*) \(os error", str(error))
        why = told[1] if told else getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"cannot write {path} ({why}): what was saved before stays; make room, and the same "
            "command goes on from there"
        ) from None


def _folder(step: int) -> str:
    return f"step_{step:08d}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def described(meta: Mapping[str, Any]) -> dict[str, str]:
    """What a safetensors file says of itself in its header, where `read_meta` reads it."""
    return {"hw2": json.dumps(dict(meta), sort_keys=True)}


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint: `tensors` by name, and the manifest's `meta`."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    def refuse_other(self, meta: dict[str, Any], out: Path) -> None:
        """Raise CheckpointError unless this checkpoint was made with `meta`."""
        now = json.loads(json.dumps(meta))
        changed = [key for key in now if self.meta.get(key) != now[key]]
        if changed:
            raise CheckpointError(
                f"out={out}: training began there with another {', '.join(changed)}: "
                "choose another --out"
            )


class CheckpointStore:
    """The checkpoints of one run, one folder a step, the last N and the best kept.

    A folder appears under its name only when it is complete (temporary folder, fsync, rename), and
    is believed only when its checksum holds.
    """

    def __init__(self, folder: Path, keep_last: int = 2) -> None:
        self.folder, self.keep_last = folder, keep_last

    def save(
        self, step: int, tensors: dict[str, Tensor], meta: dict[str, Any], score: float | None
    ) -> Path:
        """Write the checkpoint of `step`; `score` (lower is better) marks the best.

        Its `ema.*` are weights that a job can be given, as those of `save_weights`.

        Raises StorageError if the disk refuses it; then what was saved before stays.
        """
        target = self.folder / _folder(step)
        with _told(target), self._passing() as part:
            whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            save_file(whole, part / STATE, metadata=described({**meta, "step": step}))
            digest = sha256_of(part / STATE)
            manifest = {"step": step, "sha256": digest, "score": score, "meta": meta}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1))
            as_umask(part)
            for path in (part / STATE, part / MANIFEST, part):
                _sync(path)
            if target.exists():  # a torn one of the same step
                shutil.rmtree(target)
            part.rename(target)
            _sync(self.folder)
            self._prune(target)
        return target

    def steps(self) -> list[Path]:
        """Folders of all checkpoints, oldest first, believed or not."""
        return sorted(self.folder.glob("step_*"))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint whose checksum holds; torn ones are skipped with a warning."""
        for path in reversed(self.steps()):
            try:
                return self._load(path)
            except (*TORN, SafetensorError) as error:
                warnings.warn(f"checkpoint {path} is torn and skipped: {error}", stacklevel=2)
        return None

    def _load(self, path: Path) -> Checkpoint:
        manifest = read_json(path / MANIFEST)
        if sha256_of(path / STATE) != manifest["sha256"]:
            raise ValueError("checksum does not match its manifest")
        if path.name != _folder(manifest["step"]):
            raise ValueError(f"its manifest is that of step {manifest['step']}")
        if not isinstance(manifest["meta"], dict):
            raise ValueError("its manifest says nothing of the run")
        return Checkpoint(manifest["step"], load_file(path / STATE), manifest["meta"])

    @contextlib.contextmanager
    def _passing(self) -> Iterator[Path]:
        """A folder to fill and rename; what a kill or a full disk left goes with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            yield Path(tempfile.mkdtemp(prefix=".part-", dir=self.folder))
        finally:
            self.sweep()

    def sweep(self) -> None:
        """Remove what a killed write left. Only the one writer of the folder may call this."""
        for part in self.folder.glob(".part-*"):
            shutil.rmtree(part, ignore_errors=True)

    def _prune(self, newest: Path) -> None:
        paths = self.steps()
        # Later steps than the one just saved were torn, or this run would have gone on from them.
        past = paths[: paths.index(newest) + 1]
        scores = {}
        for path in past:
            try:
                score = read_json(path / MANIFEST)["score"]
                if score is not None and math.isfinite(score):
                    scores[path] = score
            except TORN:
                continue
        keep = set(past[-self.keep_last :])
        if scores:
            keep.add(min(scores, key=lambda path: scores[path]))
        for path in paths:
            if path not in keep:
                shutil.rmtree(path)


def save_weights(
    path: Path,
    weights: dict[str, nn.Module],
    meta: dict[str, Any],
    only: Collection[str] | None = None,
) -> None:
    """Write `path` (safetensors) with each module's weights under its prefix, and `meta` as JSON.

    `weights` is for instance {"net": net, "ema": ema}; of a module's weights all are written, or
    those named in `only`. Atomic: temporary file and rename.
    """
    tensors = {
        f"{prefix}.{name}": value.detach().cpu().contiguous()
        for prefix, module in weights.items()
        for name, value in module.state_dict().items()
        if only is None or name in only
    }
    part = path.with_name(f".{path.name}.part")
    with _told(path):
        try:
            save_file(tensors, part, metadata=described(meta))
            as_umask(part)
            _sync(part)
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)


def read_meta(path: Path) -> Claims:
    """The JSON that `save_weights` put into `path`.

    Raises CheckpointError if the file is missing, another's, torn, not safetensors or not ours.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
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


def has_weights(path: Path) -> bool:
    """Whether `save_weights` wrote `path`, and it is as long as it was then."""
    try:
        read_meta(path)
    except CheckpointError:
        return False
    return True


def load_weights(
    path: Path, module: nn.Module, prefix: str, only: Collection[str] | None = None
) -> None:
    """Fill `module` with the weights stored under `prefix` in `path`; see `fill` for refusals.

    With `only`, `path` holds those weights alone, and the others stay as they are.
    """
    read_meta(path)
    with safe_open(path, framework="pt") as file:
        start = len(prefix) + 1
        found = {k[start:]: file.get_tensor(k) for k in file.keys() if k.startswith(f"{prefix}.")}  # noqa: SIM118
    if only is not None:
        found = {k: v for k, v in module.state_dict().items() if k not in only} | found
    fill(module, found, path)


def fill(module: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Give `module` the weights `found`, which `path` held.

    Raises CheckpointError that names the first five missing, unknown or misshapen weights, or the
    first that holds nan or infinity.
    """
    want = module.state_dict()
    shapes = [{k: tuple(v.shape) for k, v in t.items()} for t in (found, want)]
    refuse_misfits(str(path), *shapes)
    for name, value in want.items():
        if found[name].is_floating_point() != value.is_floating_point():
            raise CheckpointError(f"{path}: {name} is {found[name].dtype}, want {value.dtype}")
    refuse_infinite(str(path), found)
    module.load_state_dict(found)
