"""`jobs.train_text2image`, from the autoencoder of an MLflow run."""

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from hw2.data.text2image_tree import write_text2image
from hw2.distributed.train import run_training
from tests.jobs.command import Folder

FEW = {"train.num_steps": 2, "train.batch_size": 4, "train.checkpoint_every": 2}
SMALL = {"text.width": 32, "text.heads": 2, "text.layers": 1, "network.heads": 2}
SMALL |= {"network.channels": "16,32", "sample.num_inference_steps": 2}


def test_a_worker_finds_the_run_that_the_driver_means(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray gives each worker a folder of its own, where there is no mlflow.db."""
    (elsewhere := folder.path / "elsewhere").mkdir()

    worked: list[str] = []

    def by_worker(make: Callable[..., Any], *rest: Any) -> None:
        make = pickle.loads(cloudpickle.dumps(make))  # as it travels

        def there(config: Any, out: Path) -> Any:
            with contextlib.chdir(elsewhere):
                return make(config, out)

        run_training(there, *rest)
        worked.append("all steps")

    write_text2image(folder.path / "tree", 0, 40)
    first = {**FEW, "data.root": "tree", "image_size": 16, "network.channels": "8,16"}
    here = first | {"out": "autoencoder", "scaling.num_workers": 0}
    assert folder.run_here("train_autoencoder", here).code == 0
    ((run,),) = folder.query("SELECT run_uuid FROM runs")
    monkeypatch.setattr("hw2.distributed.train.run_training", by_worker)
    given = {**FEW, **SMALL, "data.root": "tree", "out": "out", "scaling.num_workers": 0}
    ended = folder.run_here("train_text2image", given | {"autoencoder": f"run:{run}"})
    assert ended.code == 0, ended.err
    assert (folder.path / "out/pipeline/model_index.json").is_file()
    assert worked and not list(elsewhere.iterdir())
