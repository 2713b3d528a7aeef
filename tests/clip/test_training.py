"""The training put together: what it leaves is a model that open_clip loads."""

import json
from pathlib import Path
from unittest.mock import patch

import open_clip
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from torch.testing import assert_close

from hw2.clip.training import (
    _sheet,
    classify,
    clip_training,
    final_report,
    read_clip_tree,
    warn_of_cut_captions,
    write_open_clip,
    zero_shot_accuracy,
)
from hw2.data.batches import CaptionBatch, Shuffled
from hw2.data.captions import ClassSet
from hw2.data.clip_tree import write_clip
from hw2.events import Row
from hw2.models.clip import build_clip, clip_tokenizer
from hw2.settings.clip import ClipNetworkConfig, TextConfig, TrainClipConfig, VisionConfig
from hw2.settings.data import DataConfig
from hw2.settings.training import TrainConfig
from hw2.weights import load_weights, read_meta
from tests.in_process import run_bare

TINY = ClipNetworkConfig(
    embed_dim=8, vision=VisionConfig(width=64, layers=1), text=TextConfig(width=8, layers=1)
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainClipConfig:
    root = tmp_path_factory.mktemp("tree")
    write_clip(root, 0, num_train=40, num_val_per_class=1)
    settings = TrainConfig(num_steps=15, batch_size=32, learning_rate=1e-2, warmup_steps=1)
    return TrainClipConfig(out=root, network=TINY, data=DataConfig(root=root), train=settings)


@pytest.fixture(scope="module")
def rows(config: TrainClipConfig) -> list[Row]:
    """Of a few steps, whose weights lie in the tree's folder."""
    return run_bare(clip_training(config, config.out))


def test_captions_beyond_the_context_are_told(
    config: TrainClipConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = ["a sea"] * 3 + ["a photo of a red brick."] * 2
    for context, told in ((9, ""), (8, "warning: 2 of 5 captions are cut at 8 tokens\n")):
        network = TINY.model_copy(update={"text": TextConfig(context_length=context)})
        warn_of_cut_captions(config.model_copy(update={"network": network}), captions)
        assert capsys.readouterr().err == told


def test_the_seed_is_that_of_weights_and_order(config: TrainClipConfig) -> None:
    training = clip_training(config.model_copy(update={"seed": 6}), config.out)
    fresh = build_clip(TINY.model_cfg(), 6).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in training.net.state_dict().items())
    train, _ = read_clip_tree(config)
    tokens = clip_tokenizer(TINY.model_cfg())(list(train.captions))
    alike = (tokens[:, None] == tokens).all(-1)
    numbers = training.source.whole.captions
    assert torch.equal(numbers[:, None] == numbers, alike)  # pictures of one caption have one
    sources = training.source, Shuffled(CaptionBatch(train.images, tokens, numbers), 6)
    own, want = (source.batch(2, (0, 3), 4) for source in sources)
    assert all(map(torch.equal, own, want))
    assert (training.seed, training.meta["seed"]) == (6, 6)


def test_it_measures_zero_shot_accuracy_at_checkpoints(rows: list[Row]) -> None:
    values = rows[-1].values
    assert [row.step for row in rows] == list(range(1, 16))
    assert values["eval/top1"] == pytest.approx(
        0.8 * values["eval/top1/seen"] + 0.2 * values["eval/top1/held_out"]
    )
    assert values["eval/loss"] == pytest.approx(1 - values["eval/top1/seen"])
    assert values["train/logit_scale"] == pytest.approx(1 / 0.07, rel=0.2)


def test_open_clip_loads_what_it_leaves(
    config: TrainClipConfig, rows: list[Row], tmp_path: Path
) -> None:
    weights = config.out / "final.safetensors"
    write_open_clip(weights, tmp_path / "open_clip")
    modes = {path.stat().st_mode for path in (tmp_path / "open_clip").iterdir()}
    assert len(modes) == 1  # of the weights as of the text beside them
    name = f"local-dir:{tmp_path / 'open_clip'}"
    theirs, preprocess = open_clip.create_model_from_pretrained(name)
    tokenize = open_clip.get_tokenizer(name)
    theirs.eval()

    ours = build_clip(read_meta(weights)["model_cfg"], seed=9)
    load_weights(weights, ours, "ema")
    ours.eval()
    val = config.data.root / "clip_zeroshot/val"
    pictures = []
    for label in range(50):
        with Image.open(val / f"{label}_0.png") as picture:
            pictures.append(preprocess(picture))
    names = json.loads((val.parent / "id2label.json").read_text())
    classes = [names[str(label)].replace("_", " ") for label in range(50)]
    with torch.no_grad():
        image = theirs.encode_image(torch.stack(pictures))
        texts = ["red brick", "a photo of grey temple."]
        assert_close(ours.encode_image(torch.stack(pictures)), image)
        assert_close(
            ours.encode_text(clip_tokenizer(TINY.model_cfg())(texts)),
            theirs.encode_text(tokenize(texts)),
        )
        template = [lambda name: f"a photo of {name}."]
        classifier = open_clip.build_zero_shot_classifier(theirs, tokenize, classes, template)
        expected = (image @ classifier).argmax(1)

    _, pictures_of_val = read_clip_tree(config)
    predictions = classify(ours, clip_tokenizer(TINY.model_cfg()), pictures_of_val)
    by_name = sorted(range(50), key=lambda label: f"{label}_0.png")  # the order of the files
    assert pictures_of_val.labels.tolist() == by_name
    assert torch.equal(predictions, expected[by_name])
    assert len(predictions.unique()) > 1

    report = final_report(weights, pictures_of_val)
    right = int((predictions == pictures_of_val.labels).sum())
    assert report.metrics["eval/top1"]["value"] == right / 50
    assert report.metrics["eval/chance"] == 1 / 50
    assert report.figure.width > 10 * 64


def test_accuracy_counts_seen_and_held_out_classes() -> None:
    names = ("red_brick", "red_gravel", "yellow_coins")  # the first and last are held out
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    pictures = ClassSet(torch.zeros(6, 3, 2, 2, dtype=torch.uint8), labels, names, "")
    found = zero_shot_accuracy(torch.tensor([0, 1, 1, 1, 0, 2]), pictures)
    counts = {"top1": (4, 6), "top1/seen": (2, 3), "top1/held_out": (2, 3)}
    assert list(found) == list(counts)
    for name, (right, n) in counts.items():
        limits = binomtest(right, n).proportion_ci(method="wilson")
        interval, number = found[name]
        assert number == n
        assert (interval.value, interval.low, interval.high) == pytest.approx(
            (right / n, limits.low, limits.high)
        )


def test_the_sheet_marks_what_is_read_wrong() -> None:
    labels, names = torch.arange(13), tuple(f"class_{n}" for n in range(13))
    pictures = ClassSet(torch.zeros(13, 3, 2, 2, dtype=torch.uint8), labels, names, "")
    said = torch.where(labels == 1, 2, labels)
    with patch("hw2.clip.training.sheet", return_value=Image.new("L", (1, 1))) as drawn:
        _sheet(said, pictures)
    shown = drawn.call_args.args[0]
    assert shown.shape[:2] == (2, 10) and not shown[0].any() and not shown[1, :3].any()
    assert (shown[1, 3:] == 255).all()  # white, after the thirteenth
    notes = ["class 0", "class 2 (wrong)", *(f"class {n}" for n in range(2, 13)), *[""] * 7]
    assert drawn.call_args.kwargs["notes"] == [notes[:10], notes[10:]]


def test_a_tree_without_held_out_classes_has_one_figure() -> None:
    pictures = ClassSet(
        torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), ("bicycle", "cup"), ""
    )
    assert list(zero_shot_accuracy(torch.tensor([0, 0]), pictures)) == ["top1"]
