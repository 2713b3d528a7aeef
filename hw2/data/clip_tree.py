"""Writing the CLIP part of the offline data tree, in the course's layout."""

import json
from functools import partial
from pathlib import Path

from hw2.data.captions import captions_csv, clip_folder, labels_file, train_folder, val_folder
from hw2.data.offline.scenes import CLASSES, caption_of, name_of, train_scene, val_scene
from hw2.data.recipe import Recipe
from hw2.data.writing import write_pictures, write_text

RECIPE_VERSION = 1  # raise it whenever the bytes of any file change


def write_clip(root: Path, seed: int, num_train: int, num_val_per_class: int) -> None:
    """Write `root`/clip_zeroshot, or what is still missing of it; all files by renaming.

    train.csv and id2label.json come last: an interrupted tree has none to be taken for whole. A
    folder that we did not make is left as it is, which a printed line says.

    Args:
        root: the data tree.
        seed: 0 <= seed < 2**64; decides every picture.
        num_train: captioned pictures; at most 100,000.
        num_val_per_class: val pictures of each of the 50 classes.

    Raises:
        ConfigError: the folder holds a tree of another recipe.
        DataError: a package that the photos come from is missing.
    """
    folder, recipe = clip_folder(root), clip_recipe(root, seed, num_train, num_val_per_class)
    if recipe.left_alone():
        return
    train_scene(seed, 0)  # a photo that cannot be read fails here, before it leaves a trace
    recipe.claim()
    train = [f"{index:05d}.png" for index in range(num_train)]
    draw = partial(train_scene, seed)
    write_pictures(train_folder(folder), train, draw, "CLIP train", optimize=True)
    val = [
        f"{label}_{index}.png"
        for label in range(len(CLASSES))
        for index in range(num_val_per_class)
    ]
    write_pictures(
        val_folder(root),
        val,
        lambda place: val_scene(seed, *divmod(place, num_val_per_class)),
        "CLIP val",
        optimize=True,
    )
    rows = (f"{name},{caption_of(index)}\n" for index, name in enumerate(train))
    write_text(captions_csv(folder), "image_name,caption\n" + "".join(rows))
    names = {str(label): name_of(*pair) for label, pair in enumerate(CLASSES)}
    write_text(labels_file(root), json.dumps(names, indent=2) + "\n")


def describe_clip(root: Path) -> str:
    """What the folder clip_zeroshot holds, in a line."""
    folders = train_folder(clip_folder(root)), val_folder(root)
    train, val = (len(list(folder.glob("*.png"))) for folder in folders)
    return f"{clip_folder(root)}: {train} captioned train and {val} val pictures"


def clip_recipe(root: Path, seed: int, num_train: int, num_val_per_class: int) -> Recipe:
    """All that decides the bytes of `root`/clip_zeroshot."""
    content = {
        "recipe": RECIPE_VERSION,
        "seed": seed,
        "num_train": num_train,
        "num_val_per_class": num_val_per_class,
    }
    return Recipe(clip_folder(root) / "offline.json", content)
