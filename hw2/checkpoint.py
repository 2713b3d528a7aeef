"""Checkpoints on disk: safetensors beside a manifest, written whole or not at all."""

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hw2.data.files import as_umask, read_json, sha256_of
from hw2.disclosure import warn
from hw2.errors import CheckpointError, StorageError
from hw2.locate import STATE
from hw2.weights import described, sync, told_if_refused

MANIFEST = "manifest.json"  # beside STATE
# What reading a damaged checkpoint may raise. Other errors are of the disk or the file server.
GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
TORN = (*GONE, ValueError, KeyError, TypeError)


def is_whole(folder: Path) -> bool:
    """Whether the checkpoint in `folder` is what its manifest says."""
    try:
        return sha256_of(folder / STATE) == read_json(folder / MANIFEST)["sha256"]
    except (*TORN, OSError):
        return False


def _folder(step: int) -> str:
    return f"step_{step:08d}"


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
        with told_if_refused(target), self._passing() as part:
            whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            save_file(whole, part / STATE, metadata=described({**meta, "step": step}))
            digest = sha256_of(part / STATE)
            manifest = {"step": step, "sha256": digest, "score": score, "meta": meta}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1))
            as_umask(part)
            for path in (part / STATE, part / MANIFEST, part):
                sync(path)
            if target.exists():  # a torn one of the same step
                shutil.rmtree(target)
            part.rename(target)
            sync(self.folder)
            self._prune(target)
        return target

    def steps(self) -> list[Path]:
        """Folders of all checkpoints, oldest first, believed or not."""
        return sorted(self.folder.glob("step_*"))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint whose checksum holds; torn ones are skipped with a warning.

        Raises StorageError for one that cannot be read now: it may be whole, and to go on from an
        earlier one would remove it.
        """
        for path in reversed(self.steps()):
            try:
                return self._load(path)
            except (*TORN, SafetensorError) as error:
                warn(f"checkpoint {path} is torn and skipped: {error}")
            except OSError as error:
                raise StorageError(
                    f"checkpoint {path} cannot be read ({error.strerror or error}): mend that, and "
                    "the same command goes on; or move it away to go on from an earlier one"
                ) from error
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
        scores, unread = {}, set()
        for path in past:
            try:
                score = read_json(path / MANIFEST)["score"]
                if score is not None and math.isfinite(score):
                    scores[path] = score
            except TORN:
                continue
            except OSError:
                unread.add(path)  # it may be the best
        keep = {*past[-self.keep_last :], *unread}
        if scores:
            keep.add(min(scores, key=lambda path: scores[path]))
        for path in paths:
            if path not in keep:
                shutil.rmtree(path)
