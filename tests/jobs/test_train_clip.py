"""`jobs.train_clip`: what a run leaves, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from hw2.data.clip_tree import write_clip
from tests.jobs.command import Folder

TINY = {
    "network.embed_dim": 8,
    "network.vision.width": 64,
    "network.vision.layers": 1,
    "network.text.width": 8,
    "network.text.layers": 1,
    "train.batch_size": 8,
    "train.num_steps": 2,
    "train.checkpoint_every": 1,
    "scaling.num_workers": 0,
    "out": "out",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 captioned pictures and one of each class."""
    root = tmp_path_factory.mktemp("tree")
    write_clip(root, 0, num_train=20, num_val_per_class=1)
    return root


def test_a_run_leaves_weights_figures_and_a_table(tree: Path, folder: Folder) -> None:
    settings = {**TINY, "data.root": tree, "network.text.context_length": 6}
    torch.set_num_threads(2)  # as a machine may have it
    ended = folder.run_here("train_clip", settings)
    assert ended.code == 0 and torch.get_num_threads() == 1  # bits do not depend on the machine
    assert "warning: 12 of 20 captions are cut at 6 tokens\n" in ended.err
    out = folder.path / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert {name: metrics[name]["n"] for name in metrics if name != "eval/chance"} == {
        "eval/top1": 50,
        "eval/top1/seen": 40,
        "eval/top1/held_out": 10,
    }
    assert metrics["eval/chance"] == 0.02
    assert "chance" in ended.out and "held_out" in ended.out
    assert {path.name for path in (out / "open_clip").iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    with Image.open(out / "figures/zero_shot.png") as figure:
        assert figure.width > 600
    assert folder.steps("train/batch_accuracy") == [1, 2]
    assert folder.steps("eval/top1/held_out") == [1, 2, 2]  # of checkpoints, and with limits
    assert folder.query("SELECT value FROM latest_metrics WHERE key='eval/top1'") == [
        (metrics["eval/top1"]["value"],)
    ]
    before = (out / "final.safetensors").stat().st_mtime_ns
    again = folder.run_here("train_clip", settings)
    assert again.code == 0
    assert (out / "final.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train.batch_size": 1}, "train.batch_size=1: nothing is learnt from a pair with no"),
        ({"train.accumulate": 2}, "train.accumulate=2 would contrast a caption with part of the"),
        ({"network.vision.patch_size": 5}, "vision.patch_size=5 does not divide vision.image_size"),
        ({"network.text.heads": 3}, "text.heads=3 does not divide text.width=8"),
        ({"data.root": "nosuch"}, "nosuch/clip_zeroshot/train.csv: cannot be read"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_refused_before_anything_is_made(
    change: dict[str, object], said: str, tree: Path, folder: Folder
) -> None:
    ended = folder.run_here("train_clip", {**TINY, "data.root": tree, **change})
    assert said in ended.refusal()
    assert list(folder.path.iterdir()) == []
