"""Where the Stable Diffusion 1.x lies that a setting names: a file, a folder, an asset, a hub."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from hw2.data.files import MAX_JSON_BYTES, no_file
from hw2.errors import CheckpointError
from hw2.locate import ASSETS, find_folder
from hw2.lock import refuse_at_work
from hw2.places import uri_of

INDEX, PIPELINE = "model_index.json", "pipeline"
FILES = re.compile(  # that are fetched from a bucket: no pickles, nor the parts that are not used
    rf"({PIPELINE}/)?({re.escape(INDEX)}|"
    r"(unet|vae|text_encoder|tokenizer|scheduler)/[^/]+\.(json|txt|safetensors))"
)
SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors")  # of a file that may hold all parts


def find_single_file(model: str) -> Path | None:
    """The file meant by `model`, or by its URI, if that may hold all parts; None for no such."""
    if uri := uri_of(model):
        from hw2.bucket.fetching import fetch_file

        single = Path(urlsplit(uri).path).suffix.lower() in SUFFIXES
        return fetch_file(uri, "model") if single else None
    path = Path(model).expanduser().absolute()
    return path if path.suffix.lower() in SUFFIXES and path.is_file() else None


def find_pipeline(model: str) -> str:
    """What diffusers is to load for `model`: a folder's path, or a hub id as it is.

    `asset:NAME` is a released model, a folder, or the URI of one, has model_index.json, or is that
    of a finished jobs.train_text2image. Raises CheckpointError if there is none, and BusyError
    while that training is at work again.
    """
    if model.startswith("asset:"):
        folder = ASSETS / model.removeprefix("asset:")
        if not (folder / INDEX).is_file():
            have = ", ".join(sorted(p.parent.name for p in ASSETS.glob(f"*/{INDEX}"))) or "none"
            raise CheckpointError(f"model={model}: no such text-to-image asset; there is {have}")
        return str(folder)
    if model.startswith("run:"):
        raise CheckpointError(
            f"model={model}: no run of MLflow keeps a whole model: give the folder or the URI of a "
            "jobs.train_text2image"
        )
    folder = find_folder(model, "model", FILES, INDEX).absolute()  # workers run elsewhere
    if folder.name == PIPELINE:
        refuse_at_work(folder.parent)
    for path in (folder, folder / PIPELINE):
        if (path / INDEX).is_file():
            return str(path)
    if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") != 1:
        missing = f"no {INDEX} there" if folder.exists() else "no such file or folder"
        if folder.exists() and not (folder.is_file() or folder.is_dir()):
            missing = no_file(folder)
        raise CheckpointError(
            f"model={model}: {missing}; give a folder that diffusers saved, the folder of a "
            "finished jobs.train_text2image, the .ckpt or .safetensors of a Stable Diffusion 1.x, "
            "the URI of one of these, a hub id such as CompVis/stable-diffusion-v1-4, or "
            "asset:text2image"
        )
    return model


def refuse_long(folder: Path) -> None:
    """Raise CheckpointError for a description that would fill the memory: libraries read it whole.

    The words of a tokenizer are some megabytes.
    """
    for path in (*folder.glob("*/*.json"), *folder.glob("*/*.txt")):
        if path.is_file() and (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise CheckpointError(
                f"{path}: {size / 2**20:.0f} MiB is over the allowed {MAX_JSON_BYTES / 2**20:.0f} "
                "MiB: give the folder as diffusers saved it"
            )
