"""Finding weights: a file, a run's folder, an MLflow run, or a released asset."""

from pathlib import Path

from hw2.errors import CheckpointError

ASSETS = Path(__file__).parent / "assets"
FINAL = "final.safetensors"


def find_model(model: str) -> Path:
    """The weights file meant by `model`.

    `asset:NAME` is a released one, `run:ID` the artifact of an MLflow run (downloaded), anything
    else a file, or a folder with final.safetensors. Raises CheckpointError if there is none.
    """
    kind, _, rest = model.partition(":")
    if kind == "asset":
        path = ASSETS / rest / FINAL
        if not path.is_file():
            have = ", ".join(sorted(p.parent.name for p in ASSETS.glob(f"*/{FINAL}"))) or "none"
            raise CheckpointError(f"model={model}: no such asset; there is {have}")
        return path
    if kind == "run":
        from hw2.tracking import download

        return download(rest, FINAL)
    path = Path(model).expanduser().absolute()  # workers run in folders of their own
    path = path / FINAL if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(
            f"model={model}: {path} does not exist; give a checkpoint file, the folder of a "
            "finished training, run:ID or asset:NAME"
        )
    return path
