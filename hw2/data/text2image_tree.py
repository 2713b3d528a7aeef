"""Writing the captioned pictures that the small text-to-image model is trained on."""

from pathlib import Path

from hw2.data.captions import captions_csv, text2image_folder, train_folder
from hw2.data.offline.compositions import composition
from hw2.data.recipe import Recipe
from hw2.data.writing import write_pictures, write_text

RECIPE_VERSION = 1  # raise it whenever the bytes of any file change


def write_text2image(root: Path, seed: int, num_pictures: int) -> None:
    """Write `root`/text2image, or what is still missing of it; all files by renaming.

    train.csv comes last: an interrupted tree has none to be taken for whole. Without pictures
    nothing is made; a folder that we did not make is left as it is, which a printed line says.

    Raises ConfigError if the folder holds a tree of another recipe, DataError if a package that the
    photos come from is missing.
    """
    if not num_pictures:
        return
    folder, recipe = text2image_folder(root), text2image_recipe(root, seed, num_pictures)
    if recipe.left_alone():
        return
    composition(seed, 0)  # a photo that cannot be read fails here, before it leaves a trace
    recipe.claim()
    names = [f"{index:05d}.png" for index in range(num_pictures)]
    write_pictures(
        train_folder(folder), names, lambda place: composition(seed, place).pixels, "text2image"
    )
    rows = (f"{name},{composition(seed, place).caption}\n" for place, name in enumerate(names))
    write_text(captions_csv(folder), "image_name,caption\n" + "".join(rows))
    print(f"{folder}: {num_pictures} captioned pictures")


def text2image_recipe(root: Path, seed: int, num_pictures: int) -> Recipe:
    """All that decides the bytes of `root`/text2image."""
    content = {"recipe": RECIPE_VERSION, "seed": seed, "num_pictures": num_pictures}
    return Recipe(text2image_folder(root) / "offline.json", content)
