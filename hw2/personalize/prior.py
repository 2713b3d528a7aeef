"""Pictures of the concepts' classes, which Custom Diffusion is to draw as before."""

import csv
from collections.abc import Sequence
from pathlib import Path

from hw2.data.captions import captions_csv, train_folder
from hw2.data.files import replacing
from hw2.personalize.concept_training import Learnt
from hw2.personalize.generating import piece_of
from hw2.pieces import Piece
from hw2.settings.personalize import CustomDiffusionConfig

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
    paths = [train_folder(folder) / f"{number:05d}.png" for number in range(len(captions))]
    return [
        piece_of(captions[first : first + size], first, paths[first : first + size])
        for first in range(0, len(captions), size)
        if not all(path.is_file() for path in paths[first : first + size])
    ]


def write_captions(captions: Sequence[str], folder: Path) -> None:
    """Write the table of all captions. It comes last: a folder that has it is whole."""
    with (
        replacing(captions_csv(folder)) as passing,
        passing.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["image_name", "caption"])
        table.writerows((f"{number:05d}.png", text) for number, text in enumerate(captions))
