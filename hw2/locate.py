"""Finding weights: a file, a run's folder, a bucket, an MLflow run, or a released asset."""

import hashlib
import os
from pathlib import Path
from typing import Any

from hw2.data.files import replacing
from hw2.errors import CheckpointError
from hw2.places import cache_folder, uri_of
from hw2.runlog.addresses import resolve_uri, shareable

ASSETS = Path(__file__).parent / "assets"
FINAL = "final.safetensors"
STATE = "state.safetensors"  # of a checkpoint, which holds the averaged weights too


class Found(type(Path())):  # type: ignore[misc]
    """Weights that each process finds for itself: on another node they lie elsewhere.

    Those of an MLflow run it looks for in the `store` where they were found.
    """

    model: str | None = None
    store: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.model and self.model.startswith("run:"):
            return (_of_run, (self.model, self.store, str(self)))
        return (find_model, (self.model,)) if self.model else (Path, (str(self),))


def _found(path: Path, model: str) -> Found:
    found = Found(path)
    found.model = model
    return found


def _of_run(model: str, store: str | None, known: str = "") -> Path:
    """The weights `model` of a run; the file `known` if it is here, for its path names its content.

    An address with a password in it stays in this process: others have one of their own.
    """
    path = Path(known)
    if not os.path.isfile(path):  # of Path it raises in another user's folder
        from hw2.tracking import download

        path = download(model.removeprefix("run:"), FINAL, store)
    found = _found(path, model)
    found.store = shareable(store)
    return found


def find_model(model: str, key: str = "model", also: str = "") -> Path:
    """The weights file meant by `model`, the value of the setting `key`.

    `asset:NAME` is a released one, `run:ID` the artifact of an MLflow run (downloaded), a URI as
    s3://bucket/folder a file or folder in a bucket (downloaded), anything else a file, or a folder,
    of a training or of one of its checkpoints. Raises CheckpointError if there is none; it names
    what the setting takes `also`, beside all these.
    """
    if model.startswith("asset:"):
        path = ASSETS / model.removeprefix("asset:") / FINAL
        if not path.is_file():
            have = ", ".join(sorted(p.parent.name for p in ASSETS.glob(f"*/{FINAL}"))) or "none"
            raise CheckpointError(f"{key}={model}: no such asset; there is {have}")
        return _found(path, model)
    if model.startswith("run:"):
        try:
            return _of_run(model, resolve_uri())
        except CheckpointError as error:
            raise CheckpointError(f"{key}={model}: {error}") from error
    if uri := uri_of(model):
        return _found(_fetch(uri, key), model)
    path = Path(model).expanduser().absolute()  # workers run in folders of their own
    if path.is_dir():
        path = path / (STATE if (path / STATE).is_file() else FINAL)
    if not path.is_file():
        raise CheckpointError(
            f"{key}={model}: {path} does not exist; give a weights file, the folder of a finished "
            "training or of a checkpoint, its URI, run:ID or asset:NAME"
            + (f", or {also}" if also else "")
        )
    return path


def _fetch(uri: str, key: str) -> Path:
    """A copy of weights in a bucket; its path names their version, so it never changes."""
    from hw2.bucket.storage import Bucket

    bucket = Bucket(uri)
    bucket.refuse_unusable()
    name, stamp = bucket.patiently(lambda: bucket.find("", FINAL, STATE))
    if stamp is None:
        raise CheckpointError(
            f"{key}={bucket.shown}: no such file, and no folder with {FINAL} or {STATE}"
        )
    version = hashlib.sha256(f"{uri} {name} {stamp}".encode()).hexdigest()[:24]
    path = cache_folder() / "models" / version / (name or bucket.path().rpartition("/")[2])
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as passing:
            bucket.patiently(lambda: bucket.get(name, passing))
    return path
