"""Files of an MLflow run, fetched into the user's cache."""

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from hw2.data.files import sha256_of
from hw2.disclosure import describe, mask
from hw2.errors import CheckpointError
from hw2.places import cache_folder
from hw2.runlog.addresses import resolve_uri, sqlite_file
from hw2.tracking import connect


class _Lacking(Exception):
    """A run without the files that are asked for."""


def download(run_id: str, name: str, tracking_uri: str | None = None) -> Path:
    """Fetch the artifact `name` of a run, as `final.safetensors`, and return the file.

    As `download_folder` does, which raises the same.
    """
    return download_folder(run_id, re.compile(re.escape(name)), name, tracking_uri) / name


def download_folder(
    run_id: str, wanted: re.Pattern[str], what: str, tracking_uri: str | None = None
) -> Path:
    """Fetch artifacts of a run into the user's cache, and return their folder.

    Its path names their content, so a file that is in use never changes. Weights come from others:
    they are safetensors, which hold no code, and nothing else is fetched.

    Args:
        run_id: Of a run in the store; MLflow's UI shows it.
        wanted: Matches the names of the files, which lie beside each other.
        what: What they are called in an error.
        tracking_uri: Default MLFLOW_TRACKING_URI, else mlflow.db in the working folder.

    Raises:
        CheckpointError: no such store, run or artifact, or it cannot be fetched.
    """
    uri = resolve_uri(tracking_uri)
    place = f"run:{run_id} in the tracking store {mask(uri)}"
    elsewhere = "copy the id from the MLflow UI, or set MLFLOW_TRACKING_URI to the run's store"
    store = sqlite_file(uri)
    if not run_id.isalnum() or (store and not store.exists()):  # to connect would make the store
        raise CheckpointError(f"there is no {place}: {elsewhere}")
    cache = cache_folder() / "runs"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as folder:
            files = _fetch(connect(uri), run_id, wanted, folder)
            contents = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
            target = cache / run_id / hashlib.sha256(contents.encode()).hexdigest()[:16]
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                file.replace(target / file.name)
            return target
    except _Lacking as error:
        raise CheckpointError(f"{place} has no {what} ({error}): finish its training") from error
    except Exception as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise CheckpointError(f"there is no {place}: {elsewhere}") from error
        raise CheckpointError(
            f"cannot fetch {what} of {place} into {cache} ({describe(error)}): mend that, or set "
            "XDG_CACHE_HOME to another folder"
        ) from error


def _fetch(client: Any, run_id: str, wanted: re.Pattern[str], folder: str) -> list[Path]:
    client.get_run(run_id)
    listed = sorted(file.path for file in client.list_artifacts(run_id))
    names = [name for name in listed if wanted.fullmatch(name) and name.endswith(".safetensors")]
    if not names:
        raise _Lacking(f"it has {', '.join(listed) or 'no files'}")
    return [Path(client.download_artifacts(run_id, name, folder)) for name in names]
