"""Writing the CLIP part of the offline data tree, in the course's layout."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hw2.data.captions import captions_csv, clip_folder, labels_file, train_folder, val_folder
from hw2.data.files import replacing
from hw2.data.offline.scenes import CLASSES, caption_of, name_of, train_scene, val_scene
from hw2.data.recipe import Recipe, claim, is_anothers, refuse_another
from hw2.progress import progress as progress_bar

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
    if is_anothers(_recipe_path(root)):
        print(f"{folder}: not made by this job, left as it is")
        return folder
    train_scene(seed, 0)  # a photo that cannot be read fails here, before it leaves a trace
    claim(_recipe_path(root), _recipe(seed, num_train, num_val_per_class))
    train = [f"{index:05d}.png" for index in range(num_train)]
    _write_pictures(train_folder(folder), train, lambda place: train_scene(seed, place), progress)
    val = [
        f"{label}_{index}.png"
        for label in range(len(CLASSES))
        for index in range(num_val_per_class)
    ]
    _write_pictures(
        val_folder(root),
        val,
        lambda place: val_scene(seed, *divmod(place, num_val_per_class)),
        progress,
    )
    rows = (f"{name},{caption_of(index)}\n" for index, name in enumerate(train))
    _write_text(captions_csv(folder), "image_name,caption\n" + "".join(rows))
    names = {str(label): name_of(*pair) for label, pair in enumerate(CLASSES)}
    _write_text(labels_file(root), json.dumps(names, indent=2) + "\n")
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


def _write_pictures(
    folder: Path, names: Sequence[str], draw: Callable[[int], np.ndarray], progress: bool
) -> None:
    folder.mkdir(exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    missing = [place for place, name in enumerate(names) if name not in there]
    quiet = not progress or not missing
    with progress_bar(len(missing), f"making CLIP {folder.name}", "pictures", quiet=quiet) as bar:
        for place in missing:
            with replacing(folder / names[place]) as passing:
                Image.fromarray(draw(place)).save(passing, "PNG", optimize=True)
            bar.advance()


def _write_text(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        with replacing(path) as passing:
            passing.write_text(text)
