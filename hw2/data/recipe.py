"""The recipe file of a folder that we make: what decides its bytes, written before the rest."""

import json
from pathlib import Path

from hw2.data.files import read_json, replacing
from hw2.errors import ConfigError

Recipe = dict[str, int | str]


def is_anothers(path: Path) -> bool:
    """Whether the folder of recipe file `path` holds something, and no recipe.

    Hidden files do not count: a killed process may leave one of `replacing`.
    """
    folder = path.parent
    if path.is_file() or not folder.exists():
        return False
    return not folder.is_dir() or any(not entry.name.startswith(".") for entry in folder.iterdir())


def left_alone(path: Path) -> bool:
    """Whether the folder of recipe file `path` is another's, which a printed line then says."""
    if not is_anothers(path):
        return False
    print(f"{path.parent}: not made by this job, left as it is")
    return True


def refuse_another(path: Path, recipe: Recipe) -> None:
    """Insist that a folder with anything in it has `recipe` in its recipe file `path`."""
    if is_anothers(path):
        raise ConfigError(
            f"{path.parent} already holds data that this recipe did not make (it has no "
            f"{path.name}): take another folder"
        )
    if not path.is_file():
        return
    try:
        found = read_json(path)
    except ValueError:
        found = {}
    if found != recipe:
        raise ConfigError(
            f"{path.parent} holds a tree of {found}, not of {recipe}: "
            "take another folder, or remove that one"
        )


def claim(path: Path, recipe: Recipe) -> None:
    """Leave the recipe in a new folder."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as passing:
            passing.write_text(json.dumps(recipe, indent=2) + "\n")
