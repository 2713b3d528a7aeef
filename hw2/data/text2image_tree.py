"""Writing the captioned pictures that the small text-to-image model is trained on."""

from pathlib import Path

from hw2.data.captions import captions_csv, text2image_folder, train_folder
from hw2.data.offline.compositions import composition
from hw2.data.recipe import Recipe, claim, is_anothers, left_alone, refuse_another
from hw2.data.writing import write_pictures, write_text

RECIPE_VERSION = 1  # raise it whenever the bytes of any file change


def write_text2image(root: Path, seed: int, num_pictures: int, progress: bool = True) -> None:
    """Write `root`/text2image, or what is still missing of it; all files by renaming.

    train.csv comes last: an interrupted tree has none to be taken for whole. Without pictures
    nothing is made; a folder that we did not make is left as it is, which a printed line says.

    Raises ConfigError if the folder holds a tree of another recipe, DataError if a package that the
    photos come from is missing.
    """
    folder = text2image_folder(root)
    check_text2image(root, seed, num_pictures)
    if not num_pictures:
        return
    if left_alone(_recipe_path(root)):
        return
    composition(seed, 0)  # a photo that cannot be read fails here, before it leaves a trace
    claim(_recipe_path(root), _recipe(seed, num_pictures))
    names = [f"{index:05d}.png" for index in range(num_pictures)]
    draw = lambda place: composition(seed, place).pixels  # noqa: E731
    write_pictures(train_folder(folder), names, draw, "text2image", progress)
    rows = (f"{name},{composition(seed, place).caption}\n" for place, name in enumerate(names))
    write_text(captions_csv(folder), "image_name,caption\n" + "".join(rows))
    print(f"{folder}: {num_pictures} captioned pictures")


def check_text2image(root: Path, seed: int, num_pictures: int) -> None:
    """Raise the ConfigError with which `write_text2image` would refuse another recipe's tree."""
    if num_pictures and not is_anothers(_recipe_path(root)):
        refuse_another(_recipe_path(root), _recipe(seed, num_pictures))


def _recipe_path(root: Path) -> Path:
    return text2image_folder(root) / "offline.json"


def _recipe(seed: int, num_pictures: int) -> Recipe:
    return {"recipe": RECIPE_VERSION, "seed": seed, "num_pictures": num_pictures}
