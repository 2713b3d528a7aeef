"""The training of a small CLIP put together: pictures, network, objective, what is measured."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from PIL import Image
from torch import Tensor, nn

from hw2.clip.contrastive import ContrastiveObjective
from hw2.clip.loading import load_trained
from hw2.clip.tokenizing import count_tokens
from hw2.clip.zero_shot import class_embeddings
from hw2.data.batches import CaptionBatch, Shuffled
from hw2.data.captions import (
    CaptionSet,
    ClassSet,
    clip_folder,
    read_captions,
    read_classes,
    warn_of_cut,
)
from hw2.data.files import replacing
from hw2.data.offline.scenes import held_out
from hw2.figures.grid import filled, sheet
from hw2.metrics.intervals import Interval, wilson
from hw2.models.clip import build_clip, clip_tokenizer
from hw2.pixels import to_unit
from hw2.settings.clip import TrainClipConfig
from hw2.training import Training
from hw2.weights import read_meta, write_tensors

# Pictures are made square and scaled to [-1, 1]; at their own size they are not changed.
PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}
PICTURES_AT_ONCE = 250
SHEET_COLUMNS = 10


def read_clip_tree(config: TrainClipConfig) -> tuple[CaptionSet, ClassSet]:
    """The captioned pictures of the data tree, to train on, and the classified ones, val."""
    root, size, skip = config.data.root, config.network.vision.image_size, config.data.skip_bad
    train = read_captions(clip_folder(root), size, skip_bad=skip)
    return train, read_classes(root, size, skip_bad=skip)


def warn_of_cut_captions(config: TrainClipConfig, captions: Sequence[str]) -> None:
    """One line if the network of `config` does not read all of them to their ends."""
    limit = config.network.text.context_length
    tokenize = clip_tokenizer(config.network.model_cfg())
    warn_of_cut(count_tokens(tokenize, captions, limit + 1).tolist(), limit)


@torch.no_grad()
def classify(
    net: Any, tokenize: Callable[[list[str]], Tensor], pictures: ClassSet
) -> Int64[Tensor, " n"]:
    """The class whose name fits best to each picture, by the prompt "a photo of NAME."."""
    prompts = [[f"a photo of {name.replace('_', ' ')}."] for name in pictures.names]
    classes = class_embeddings(net, tokenize, prompts)
    found = [
        (net.encode_image(to_unit(part.to(classes.device))).float() @ classes.T).argmax(1)
        for part in pictures.images.split(PICTURES_AT_ONCE)
    ]
    return torch.cat(found).cpu()


def zero_shot_accuracy(
    predictions: Int64[Tensor, " n"], pictures: ClassSet
) -> dict[str, tuple[Interval, int]]:
    """Top-1 over all pictures, with Wilson limits and their number.

    Also over those of classes that the training showed, and of those that it held out, where
    there are both.
    """
    right = predictions == pictures.labels
    unseen = torch.tensor([held_out(name) for name in pictures.names])[pictures.labels]
    rows = {"": torch.ones_like(unseen), "/seen": ~unseen, "/held_out": unseen}
    return {
        f"top1{part}": (wilson(int(right[of].sum()), int(of.sum())), int(of.sum()))
        for part, of in rows.items()
        if of.any() and (unseen.any() or not part)
    }


def zero_shot_metrics(
    tokenize: Callable[[list[str]], Tensor], pictures: ClassSet, net: nn.Module
) -> dict[str, float]:
    """Top-1 on pictures of all, seen and held-out classes.

    `eval/loss` is the share read wrong of the classes that the training showed: chosen by it, a
    checkpoint says nothing of those held out.
    """
    found = zero_shot_accuracy(classify(net, tokenize, pictures), pictures)
    seen, _ = found.get("top1/seen", found["top1"])
    accuracy = {f"eval/{name}": interval.value for name, (interval, _) in found.items()}
    return {"eval/loss": 1 - seen.value, **accuracy}


def clip_training(config: TrainClipConfig, out: Path) -> Training:
    """The training that `config` describes, with results in `out`."""
    train, val = read_clip_tree(config)
    model_cfg = config.network.model_cfg()
    tokenize = clip_tokenizer(model_cfg)
    tokens = tokenize(list(train.captions))
    numbers = tokens.unique(dim=0, return_inverse=True)[1]
    return Training(
        net=build_clip(model_cfg, config.seed),
        objective=ContrastiveObjective(config.train.batch_size),
        source=Shuffled(CaptionBatch(train.images, tokens, numbers), config.seed),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={
            "kind": "clip",
            "model_cfg": model_cfg,
            "preprocess_cfg": PREPROCESS,
            "data_hash": train.content_hash,
            "seed": config.seed,
        },
        evaluate=partial(zero_shot_metrics, tokenize, val),
    )


@dataclass(frozen=True)
class ClipReport:
    """What a finished training reads on the val pictures.

    `metrics` go to metrics.json, those in `summary` to MLflow; `rows` are a table of them;
    `figure` shows the first picture of each class with what was read.
    """

    metrics: dict[str, Any]
    summary: dict[str, Interval]
    rows: list[dict[str, Any]]
    figure: Image.Image


def final_report(weights: Path, pictures: ClassSet) -> ClipReport:
    """The averaged weights in `weights` on the val pictures, and chance."""
    model = load_trained(weights)
    predictions = classify(model.net, model.tokenize, pictures)
    found = zero_shot_accuracy(predictions, pictures)
    chance = 1 / len(pictures.names)
    metrics: dict[str, Any] = {
        f"eval/{name}": {**interval.to_json(), "n": n} for name, (interval, n) in found.items()
    }
    rows = [
        {"zero-shot": name, "pictures": n, "right": f"{interval:.1%}"}
        for name, (interval, n) in found.items()
    ]
    rows.append({"zero-shot": "chance", "pictures": "", "right": f"{100 * chance:.1f} %"})
    return ClipReport(
        metrics | {"eval/chance": chance},
        {f"eval/{name}": interval for name, (interval, _) in found.items()},
        rows,
        _sheet(predictions, pictures),
    )


def _sheet(predictions: Tensor, pictures: ClassSet) -> Image.Image:
    labels = pictures.labels.tolist()
    first = [labels.index(label) for label in sorted(set(labels))]
    columns = min(SHEET_COLUMNS, len(first))
    count = -(-len(first) // columns) * columns  # of whole rows
    notes = []
    for place in first:
        name = pictures.names[int(predictions[place])].replace("_", " ")
        notes.append(name if predictions[place] == labels[place] else f"{name} (wrong)")
    notes += [""] * (count - len(first))
    return sheet(
        filled(pictures.images[first], count).unflatten(0, (-1, columns)),
        title="zero-shot: the first val picture of each class, and what it is taken for",
        notes=[notes[start : start + columns] for start in range(0, len(notes), columns)],
    )


def write_open_clip(weights: Path, folder: Path) -> None:
    """The averaged weights in `weights` as a folder that open_clip loads ("local-dir:FOLDER")."""
    meta, net = read_meta(weights), load_trained(weights).net
    tensors = {name: value.float().contiguous() for name, value in net.state_dict().items()}
    about = {"model_cfg": meta["model_cfg"], "preprocess_cfg": meta["preprocess_cfg"]}
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "open_clip_model.safetensors", tensors, {"format": "pt"})
    with replacing(folder / "open_clip_config.json") as passing:
        passing.write_text(json.dumps(about, indent=2) + "\n")
