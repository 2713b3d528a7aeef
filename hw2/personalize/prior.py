"""Pictures of the concepts' classes, which Custom Diffusion is to draw as before."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hw2.data.captions import captions_csv, train_folder
from hw2.data.files import replacing
from hw2.figures.files import write_atomic
from hw2.personalize.concept_training import Learnt
from hw2.pieces import MakeWork, Piece
from hw2.settings.personalize import CustomDiffusionConfig
from hw2.settings.values import absolute
from hw2.text2image.drawing import draw
from hw2.text2image.loading import load_stable_diffusion

PRIOR = "prior"


def prior_captions(config: CustomDiffusionConfig, learnt: Sequence[Learnt]) -> list[str]:
    """The caption of each picture: the concepts' templates around their initial words."""
    return [
        of.templates[number % len(of.templates)].format(of.initializer)
        for of in learnt
        for number in range(config.prior.num_pictures)
    ]


def prior_folder(config: CustomDiffusionConfig, out: Path) -> Path | None:
    """Where the pictures are: the given folder, or what is drawn beside the training."""
    if config.prior.weight == 0:
        return None
    return config.prior.folder or out / PRIOR


def pieces_to_draw(captions: Sequence[str], folder: Path, size: int) -> list[Piece]:
    """The chunks of `size` pictures that are not wholly in `folder`."""
    if captions_csv(folder).is_file():
        return []
    starts = range(0, len(captions), size)
    chunks = ({"first": i, "captions": captions[i : i + size]} for i in starts)
    return [chunk for chunk in chunks if not all(path.is_file() for path in _paths(chunk, folder))]


def _paths(chunk: Piece, folder: Path) -> list[Path]:
    numbers = range(chunk["first"], chunk["first"] + len(chunk["captions"]))
    return [train_folder(folder) / f"{number:05d}.png" for number in numbers]


def make_worker(config: CustomDiffusionConfig) -> MakeWork:
    """What an actor does: load the base model once, then draw chunks."""
    name = absolute(config.model)

    def make(on_gpu: bool) -> Callable[[Piece], Piece]:
        model = load_stable_diffusion(name)
        model = model.to(torch.device("cuda" if on_gpu else "cpu"))

        def work(chunk: Piece) -> Piece:
            captions, first = chunk["captions"], chunk["first"]
            indices = range(first, first + len(captions))
            drawn = draw(model, captions, config.sample, indices=indices, seed=config.seed)
            return {**chunk, "pictures": drawn.movedim(1, -1).numpy()}

        return work

    return make


def write_chunk(chunk: Piece, folder: Path) -> int:
    """Write a drawn chunk; returns how many pictures it had."""
    for path, pixels in zip(_paths(chunk, folder), chunk["pictures"], strict=True):
        write_atomic(path, Image.fromarray(np.array(pixels)))
    return len(chunk["captions"])


def write_captions(captions: Sequence[str], folder: Path) -> None:
    """The table of all, which comes last: with it the folder is whole."""
    with replacing(captions_csv(folder)) as passing, passing.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_name", "caption"])
        table.writerows((f"{number:05d}.png", text) for number, text in enumerate(captions))
