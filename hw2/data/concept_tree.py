"""Writing the concepts of the offline data tree, in the course's layout."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from hw2.data.offline.concepts import NUM_PICTURES, concept_picture
from hw2.data.recipe import Recipe
from hw2.data.writing import write_pictures, write_text

RECIPE_VERSION = 1  # raise it whenever the bytes of any file change
INPUT = "input.json"

# The course's keys, and two that its file lacks: the word that a token starts as, and the kind.
# `prompt_4_clip_eval` keeps to words that asset:clip has learnt. The baselines are ten points below
# what `make concepts` reached with its inversions, by asset:clip, on the best five of 25 (seed 0).
CONCEPTS: dict[str, dict[str, Any]] = {
    "0": {
        "token_name": "<new1>",
        "prompt": ["a photo of a <new1>", "a <new1> in the style of ink"],
        "prompt_4_clip_eval": ["a photo of coins.", "a photo of white coins."],
        "baseline": [[51.0, 9.0], [-44.0, 41.0]],
        "initializer_token": "gravel",
        "kind": "object",
    },
    "1": {
        "token_name": "<new2>",
        "prompt": ["a brick in the style of <new2>", "a temple in the style of <new2>"],
        "prompt_4_clip_eval": ["a photo of orange brick.", "a photo of orange temple."],
        "baseline": [[16.0, 44.0], [25.0, 6.0]],
        "initializer_token": "mosaic",
        "kind": "style",
    },
    "2": {
        "token_name": "<new3>",
        "prompt": ["a photo of a <new3>", "a <new3> in the style of blueprint"],
        "prompt_4_clip_eval": ["a photo of pink flower.", "a photo of blue flower."],
        "baseline": [[71.0, 68.0], [15.0, 36.0]],
        "initializer_token": "grass",
        "kind": "object",
    },
}


def write_concepts(root: Path, seed: int) -> None:
    """Write `root`/textual_inversion, or what is still missing of it; all files by renaming.

    input.json comes last. A folder that we did not make is left as it is, which a printed line
    says. Raises ConfigError if it holds a tree of another recipe, DataError if a package that the
    photos come from is missing.
    """
    folder, recipe = concepts_folder(root), concepts_recipe(root, seed)
    if recipe.left_alone():
        return
    concept_picture(seed, 0, 0)  # a photo that cannot be read fails before it leaves a trace
    recipe.claim()
    names = [f"{index:02d}.jpg" for index in range(NUM_PICTURES)]
    for source in CONCEPTS:
        draw = partial(concept_picture, seed, int(source))
        # Without subsampling: the tint is what is to be learnt.
        how = {"quality": 95, "subsampling": 0}
        write_pictures(folder / source, names, draw, None, **how)
    entries = {source: {"src_image": source, **entry} for source, entry in CONCEPTS.items()}
    write_text(folder / INPUT, json.dumps(entries, indent=2) + "\n")
    print(f"{folder}: {len(CONCEPTS)} concepts of {NUM_PICTURES} pictures")


def concepts_folder(root: Path) -> Path:
    """The concepts of the data tree at `root`."""
    return root / "textual_inversion"


def concepts_recipe(root: Path, seed: int) -> Recipe:
    """All that decides the bytes of `root`/textual_inversion."""
    content = {"recipe": RECIPE_VERSION, "seed": seed}
    return Recipe(concepts_folder(root) / "offline.json", content)
