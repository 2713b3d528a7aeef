"""`jobs.train_text2image` under Ray, from the autoencoder of an MLflow run."""

import pytest

from hw2.data.text2image_tree import write_text2image
from tests.jobs.command import Folder, as_words

FEW = {"train.num_steps": 2, "train.batch_size": 4, "train.checkpoint_every": 2}
SMALL = {"text.width": 32, "text.heads": 2, "text.layers": 1, "network.heads": 2}
SMALL |= {"network.channels": "16,32", "sample.num_inference_steps": 2}


@pytest.mark.slow
def test_a_worker_finds_the_run_that_the_driver_means(folder: Folder) -> None:
    write_text2image(folder.path / "tree", 0, 40)
    first = {**FEW, "data.root": "tree", "image_size": 16, "network.channels": "8,16"}
    here = first | {"out": "autoencoder", "scaling.num_workers": 0}
    assert folder.run_here("train_autoencoder", here).code == 0
    ((run,),) = folder.query("SELECT run_uuid FROM runs")
    given = {**FEW, **SMALL, "data.root": "tree", "out": "out", "scaling.num_workers": 1}
    ended = folder.run("train_text2image", *as_words(given | {"autoencoder": f"run:{run}"}))
    assert ended.code == 0, ended.err
    assert (folder.path / "out/pipeline/model_index.json").is_file()
