"""Writing the CLIP part of the offline data tree, in the course's layout."""

import json
from pathlib import Path

from hw2.data.captions import captions_csv, clip_folder, labels_file, train_folder, val_folder
from hw2.data.offline.scenes import CLASSES, caption_of, name_of, train_scene, val_scene
from hw2.data.recipe import Recipe, claim, is_anothers, left_alone, refuse_another
from hw2.data.writing import write_pictures, write_text

RECIPE_VERSION = 1  # raise it whenever the bytes of any file change


def write_clip(
    root: Path, seed: int, num_train: int, num_val_per_class: int, progress: bool = True
) -> Path:
    """Write `root`/clip_zeroshot, or what is still missing of it; all files by renaming.

    train.csv and id2label.json come last: an interrupted tree has none to be taken for whole. A
    folder that we did not make is left as it is, which a printed line says.

    Args:
        root: the data tree.
        seed: 0 <= seed < 2**64; decides every picture.
        num_train: captioned pictures; at most 100,000.
        num_val_per_class: val pictures of each of the 50 classes.
        progress: show bars on stderr.

    Returns:
        The folder clip_zeroshot.

    Raises:
        ConfigError: the folder holds a tree of another recipe.
        DataError: a package that the photos come from is missing.
    """
    folder = clip_folder(root)
    check_clip(root, seed, num_train, num_val_per_class)
    if left_alone(_recipe_path(root)):
        return folder
    train_scene(seed, 0)  # a photo that cannot be read fails here, before it leaves a trace
    claim(_recipe_path(root), _recipe(seed, num_train, num_val_per_class))
    train = [f"{index:05d}.png" for index in range(num_train)]
    write_pictures(
        train_folder(folder),
        train,
        lambda place: train_scene(seed, place),
        "CLIP train",
        progress,
        optimize=True,
    )
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
        progress,
        optimize=True,
    )
    rows = (f"{name},{caption_of(index)}\n" for index, name in enumerate(train))
    write_text(captions_csv(folder), "image_name,caption\n" + "".join(rows))
    names = {str(label): name_of(*pair) for label, pair in enumerate(CLASSES)}
    write_text(labels_file(root), json.dumps(names, indent=2) + "\n")
    return folder


def check_clip(root: Path, seed: int, num_train: int, num_val_per_class: int) -> None:
    """Raise the ConfigError with which `write_clip` would refuse a tree of another recipe."""
    if not is_anothers(_recipe_path(root)):
        refuse_another(_recipe_path(root), _recipe(seed, num_train, num_val_per_class))


def describe_clip(root: Path) -> str:
    """What the folder clip_zeroshot holds, in a line."""
    folders = train_folder(clip_folder(root)), val_folder(root)
    train, val = (len(list(folder.glob("*.png"))) for folder in folders)
    return f"{clip_folder(root)}: {train} captioned train and {val} val pictures"


def _recipe_path(root: Path) -> Path:
    return clip_folder(root) / "offline.json"


def _recipe(seed: int, num_train: int, num_val_per_class: int) -> Recipe:
    """All that decides the bytes of the tree."""
    return {
        "recipe": RECIPE_VERSION,
        "seed": seed,
        "num_train": num_train,
        "num_val_per_class": num_val_per_class,
    }
