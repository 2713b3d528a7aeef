"""Finding weights: a file, a run's folder, a bucket, an MLflow run, or a released asset."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hw2.errors import CheckpointError, DataError
from hw2.lock import refuse_at_work
from hw2.places import as_written, uri_of
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
        from hw2.runlog.artifacts import download

        path = download(model.removeprefix("run:"), FINAL, store)
    found = _found(path, model)
    found.store = shareable(store)
    return found


def find_model(model: str, key: str = "model", also: str = "") -> Path:
    """The weights file meant by `model`, the value of the setting `key`.

    `asset:NAME` is a released one, `run:ID` the artifact of an MLflow run (downloaded), a URI as
    s3://bucket/folder a file or folder in a bucket (downloaded), anything else a file, or a folder,
    of a training or of one of its checkpoints. Raises CheckpointError if there is none; it names
    what the setting takes `also`, beside all these. Raises BusyError for final weights where a job
    is at work: it may replace them, and actors read them later than the job that has hashed them.
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
        from hw2.bucket.fetching import fetch_file

        return _found(fetch_file(uri, key, FINAL, STATE), model)
    path = Path(model).expanduser().absolute()  # workers run in folders of their own
    if path.is_dir():
        path = path / (STATE if (path / STATE).is_file() else FINAL)
    if path.name == FINAL:
        refuse_at_work(path.parent)
    if not path.is_file():
        what = "is not a regular file" if path.exists() and not path.is_dir() else "does not exist"
        raise CheckpointError(
            f"{key}={model}: {path} {what}; give a weights file, the folder of a finished "
            "training or of a checkpoint, its URI, run:ID or asset:NAME"
            + (f", or {also}" if also else "")
        )
    return path


def find_folder(place: str | Path, key: str, wanted: re.Pattern[str], what: str) -> Path:
    """The folder meant by `place`, the value of the setting `key`, with the files of another job.

    `run:ID` are the artifacts of an MLflow run, safetensors alone, and a URI is a folder in a
    bucket: the files whose names match `wanted` are downloaded. Anything else is a folder, or a
    file in one, which need not be there. Raises CheckpointError for an address without such files,
    which are `what`, and BusyError for a folder in which a job is at work: what it left before may
    change.
    """
    if str(place).startswith("run:"):
        from hw2.runlog.artifacts import download_folder

        try:
            return download_folder(str(place).removeprefix("run:"), wanted, what)
        except CheckpointError as error:
            raise CheckpointError(f"{key}={place}: {error}") from error
    if uri := uri_of(place):
        from hw2.bucket.fetching import fetch_folder

        return fetch_folder(uri, key, wanted, what)
    found = Path(place).expanduser()
    refuse_at_work(found.parent if os.path.isfile(found) else found)
    return found


def shown(place: str | Path) -> str:
    """`place` as it was given; of a URI the address alone, to which names of files can be added."""
    if uri := uri_of(place):
        from hw2.bucket.storage import Bucket

        return Bucket(uri).shown
    return as_written(place) if isinstance(place, Path) else place


@contextmanager
def naming(place: str | Path, copy: str | Path) -> Iterator[None]:
    """In the block errors of what is there name the address `place`, not where its `copy` lies."""
    try:
        yield
    except (CheckpointError, DataError) as error:
        if not (uri_of(place) or str(place).startswith("run:")):
            raise
        raise type(error)(str(error).replace(str(copy), shown(place))) from None
