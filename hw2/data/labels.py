"""Class ids and names of a picture set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hw2.data.files import Repeated, once, parse_json, read_text
from hw2.disclosure import writable
from hw2.errors import DataError

MAX_BYTES = 64 * 2**20
MAX_LETTERS = 1000  # of an id and its name, which are drawn


@dataclass(frozen=True)
class Labels:
    """Class c has the id ids[c] and the name names[c]; numeric ids stand in numeric order."""

    ids: tuple[str, ...]
    names: tuple[str, ...]

    def index(self, text: str) -> int | None:
        """The class with this id, or else with this name; None if there is none."""
        return self._places.get(text)

    @cached_property
    def numeric(self) -> bool:
        """Whether all ids are plain numbers."""
        return all(is_number(text) for text in self.ids)

    @cached_property
    def _places(self) -> dict[str, int]:
        by_name = {name: place for place, name in enumerate(self.names)}
        return by_name | {text: place for place, text in enumerate(self.ids)}


def is_number(text: str) -> bool:
    """Whether the text is ASCII digits alone; str.isdigit also takes a superscript two."""
    return text.isascii() and text.isdigit()


def read_labels(path: Path) -> Labels:
    """Read id2label.json: {"0": "name", ...}, or ["name", ...] with the places as ids.

    Raises:
        DataError: the file is missing, over MAX_BYTES, not JSON of one of the two forms, empty,
            or an id or name is empty or there twice. One line, which names the file.
    """
    try:
        return _labels(_pairs(read_text(path, MAX_BYTES)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        told = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise DataError(f'{path}: {told}: want id2label.json, {{"0": "name"}}') from error


def _pairs(text: str) -> list[tuple[str, Any]]:
    try:
        content = parse_json(text, once)
    except Repeated as error:
        raise DataError(f"the id {_short(str(error))} is there twice: keep one") from error
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
    if isinstance(content, dict):
        pairs = list(content.items())
        return sorted(pairs, key=_number) if all(is_number(key) for key in content) else pairs
    if isinstance(content, list):
        return [(str(place), name) for place, name in enumerate(content)]
    raise DataError(f'it holds {_short(content)}, want {{"0": "name", ...}} or ["name", ...]')


def _number(pair: tuple[str, Any]) -> tuple[int, str]:
    return len(pair[0].lstrip("0")), pair[0].lstrip("0")  # int() refuses over 4300 digits


def _labels(pairs: Sequence[tuple[str, Any]]) -> Labels:
    if not pairs:
        raise DataError('it holds no labels: want {"0": "name", ...}')
    owner: dict[str, str] = {}
    for key, name in pairs:
        if not isinstance(name, str):
            raise DataError(f"the label of id {_short(key)} is {_short(name)}, want a text")
        if not key.strip() or not name.strip():
            raise DataError(f"the id {_short(key)} has the label {_short(name)}: none may be empty")
        if not writable(key + name):
            raise DataError(f"the id {_short(key)} or its label holds half a surrogate pair")
        if len(key + name) > MAX_LETTERS:
            raise DataError(
                f"the id {_short(key)} and its label {_short(name)} have {len(key + name)} "
                f"letters: want at most {MAX_LETTERS}"
            )
        if name in owner:
            raise DataError(
                f"the ids {_short(owner[name])} and {_short(key)} have the same label "
                f"{_short(name)}: give each class its own"
            )
        owner[name] = key
    ids, names = zip(*pairs, strict=True)
    if all(map(is_number, names)) and not any(map(is_number, ids)):
        raise DataError(
            f"its labels are numbers and its ids names, as {_short(ids[0])}: {_short(names[0])}: "
            'want them the other way round, {"0": "name", ...}'
        )
    return Labels(ids, names)


def _short(value: Any) -> str:
    """A value in one line of at most 80 characters."""
    return ascii(value)[:80] if not isinstance(value, str) else repr(value)[:80]
