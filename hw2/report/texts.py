"""The words of a page, in one language."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hw2.config import leaves
from hw2.report.sentences import TO, Said
from hw2.yaml_text import read_yaml

FOLDER = Path(__file__).parent / "texts"
LIMITS = re.compile(rf"\(([-+]?\d[\d.e+-]*){TO}([-+]?\d[\d.e+-]*)\)")


class Texts:
    """Texts by dotted key, with {names} to be filled in."""

    def __init__(self, tree: Mapping[str, Any], language: str) -> None:
        self.language, self._texts = language, {k: str(v) for k, v in leaves(tree).items()}

    @classmethod
    @functools.cache
    def of(cls, language: str) -> "Texts":
        """Those of texts/LANGUAGE.yaml."""
        return cls(read_yaml(FOLDER / f"{language}.yaml"), language)

    @property
    def keys(self) -> set[str]:
        """All keys."""
        return set(self._texts)

    def __call__(self, key: str, **values: object) -> str:
        """The text at `key`; a missing one is our own mistake."""
        return self._texts[key].format(**values)

    def say(self, said: Said) -> str:
        """A sentence with its numbers."""
        values = {
            name: self("format.list").join(
                map(self.name, value if isinstance(value, tuple) else (value,))
            )
            for name, value in said.values.items()
        }
        return self.limits(self(said.key, **values))

    def name(self, key: str | Said) -> str:
        """The text at `key`, or the key itself where it is a name that came from outside."""
        return self.say(key) if isinstance(key, Said) else self._texts.get(key, key)

    def label(self, label: str | Said) -> str:
        """A label as it is, or the sentence that our own words are."""
        return self.say(label) if isinstance(label, Said) else self.limits(label)

    def limits(self, text: str) -> str:
        """A text whose limits have between them what the language writes there."""
        return LIMITS.sub(lambda found: f"({found[1]}{self('format.to')}{found[2]})", text)
