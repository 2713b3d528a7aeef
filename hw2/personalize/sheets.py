"""Figures of generated concepts: each beside its pictures, and all ways side by side."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hw2.data.concepts import Concept, concept_pictures
from hw2.data.drawn import read_made
from hw2.figures.files import write_atomic
from hw2.figures.grid import filled, sheet
from hw2.personalize.generating import picture_path, source_stem, together_stem
from hw2.personalize.ways import Ways
from hw2.settings.personalize import GenerateConceptsConfig

COLUMNS = 5


def write_sheets(
    config: GenerateConceptsConfig, ways: Ways, concepts: Mapping[str, Concept], out: Path
) -> list[Path]:
    """A sheet a concept (its pictures, then its prompts'), and one of all ways; their paths."""
    columns, paths = min(COLUMNS, config.num_pictures), []
    for source, concept in concepts.items():
        stems = [source_stem(source, place) for place in range(len(concept.prompts))]
        drawn = [_first(out, stem, columns) for stem in stems]
        side = drawn[0].shape[-1]
        given = filled(concept_pictures(concept, side)[:columns], columns)
        paths.append(out / "figures" / f"source{source}.png")
        names = ["given", *concept.prompts]
        title = f"{concept.token_name}, {next(iter(ways))}, w={config.guidance_weight:g}"
        write_atomic(paths[-1], sheet(torch.stack([given, *drawn]), names, title=title))
    rows, names = [], []
    for place, prompt in enumerate(config.together):
        for way in ways:
            rows.append(_first(out, together_stem(way, place), columns))
            names.append(f"{way}: {prompt}")
    if rows:
        paths.append(out / "figures" / "together.png")
        title = f"several concepts in one picture, w={config.guidance_weight:g}"
        write_atomic(paths[-1], sheet(torch.stack(rows), names, title=title))
    return paths


def _first(out: Path, stem: str, count: int) -> Tensor:
    return read_made([picture_path(out, stem, number) for number in range(count)])
