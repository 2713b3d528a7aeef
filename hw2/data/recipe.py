"""The recipe file of a folder that we make: what decides its bytes, written before the rest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hw2.config import difference
from hw2.data.files import read_mapping, write_first
from hw2.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """All that decides the bytes of a folder, and the file there that says it."""

    path: Path
    content: Mapping[str, int | str]

    def is_anothers(self) -> bool:
        """Whether the folder holds something, and no recipe.

        Hidden files do not count: a killed process may leave one of `replacing`.
        """
        folder = self.path.parent
        if self.path.is_file() or not folder.exists():
            return False
        if not folder.is_dir():
            return True
        return any(not entry.name.startswith(".") for entry in folder.iterdir())

    def left_alone(self) -> bool:
        """Whether the folder is another's, which a printed line then says. Raises as `check`."""
        self.check()
        if not self.is_anothers():
            return False
        print(f"{self.path.parent}: not made by this job, left as it is")
        return True

    def check(self) -> None:
        """Raise ConfigError if we made the folder by another recipe."""
        if not self.path.is_file():
            return
        found, wanted = read_mapping(self.path), dict(self.content)
        if found != wanted:
            differ = difference(found, wanted) if found else [f"{self.path.name} is broken"]
            raise ConfigError(
                f"{self.path.parent} holds a tree of other settings ({'; '.join(differ)}): "
                "take another folder, or remove that one"
            )

    def insist(self) -> None:
        """Raise ConfigError unless the folder is empty or has this recipe."""
        if self.is_anothers():
            raise ConfigError(
                f"{self.path.parent} already holds data that this recipe did not make (it has no "
                f"{self.path.name}): take another folder"
            )
        self.check()

    def claim(self) -> None:
        """Leave the recipe in a new folder. Raises as `check` if another job left another first."""
        if not self.path.is_file():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_first(self.path, json.dumps(self.content, indent=2) + "\n")
        self.check()
