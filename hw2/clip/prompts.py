"""Prompts: sets of templates, and what class names become in them."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hw2.data.labels import MAX_LETTERS
from hw2.errors import ConfigError

PUBLISHED = Path(__file__).parent / "prompt_sets"  # one template a line, as in a user's own file
PLACEHOLDERS = ("{}", "{label}", "{c}")  # of ours, of the course, of clip-benchmark
MAX_FILE_BYTES = 2**20


@dataclass(frozen=True)
class PromptSet:
    """Templates whose prompts stand for a class together, and whether names are cleaned first.

    `name` is fit for a file, such as "imagenet" or "course-raw".
    """

    name: str
    templates: tuple[str, ...]
    clean: bool

    def prompts(self, names: Sequence[str]) -> list[list[str]]:
        """The prompts of each class, in the order of the templates."""
        return [[fill(template, n, self.clean) for template in self.templates] for n in names]


def clean_name(name: str) -> str:
    """A class name as one would say it: underscores become spaces, doubled spaces one."""
    return " ".join(name.replace("_", " ").split())


def fill(template: str, name: str, clean: bool) -> str:
    """`template` with `name` in place of its placeholder.

    `clean` also makes "a" before a vowel "an", and leaves out a template's article before a name
    that brings its own. Raises ConfigError unless the template has one placeholder and
    at most MAX_LETTERS letters.
    """
    _check([template], "templates")
    # Replaced as text: format() would let a template reach into objects.
    placeholder = next(p for p in PLACEHOLDERS if p in template)
    if clean:
        name, here = clean_name(name), re.escape(placeholder)
        if re.match(r"(a|an|the) ", name, re.IGNORECASE):
            template = re.sub(rf"\b(a|an|the) (?={here})", "", template, flags=re.IGNORECASE)
        elif name[:1].lower() in tuple("aeiou"):
            template = re.sub(rf"\b(a) (?={here})", r"\1n ", template, flags=re.IGNORECASE)
    return template.replace(placeholder, name)


def prompt_sets(asked: Sequence[str], clean: Sequence[bool]) -> list[PromptSet]:
    """The sets that `asked` means, each with every choice of `clean`.

    An entry is the name of a published set, a file with a template a line, or templates
    themselves, separated by "|". Raises ConfigError for any other, for a template without
    placeholder, and for a set asked for twice.
    """
    found = [
        PromptSet(title if cleaned else f"{title}-raw", templates, cleaned)
        for title, templates in map(_templates, asked)
        for cleaned in clean
    ]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"templates: the set {name} is asked for twice: name each once")
    return found


def _templates(entry: str) -> tuple[str, tuple[str, ...]]:
    published = PUBLISHED / f"{entry}.txt"
    if re.fullmatch(r"\w+", entry) and published.is_file():
        return entry, _read(published)
    if any(placeholder in entry for placeholder in PLACEHOLDERS):
        first, *others = map(str.strip, entry.split(","))
        if re.fullmatch(r"\w+", first) and (PUBLISHED / f"{first}.txt").is_file():
            several = json.dumps([first, *others], ensure_ascii=False)
            raise ConfigError(
                f"templates={entry}: {first} is a set, and this would be one text: to compare "
                f"several, give a list: '{several}'"
            )
        templates = tuple(part.strip() for part in entry.split("|"))
        _check(templates, "templates", '; to compare texts, give a list: \'["..", ".."]\'')
        words = _for_file(entry.lower(), 40).strip("_")
        # Texts that differ in more than letters are different sets.
        return f"{words}_{hashlib.sha256(entry.encode()).hexdigest()[:6]}", templates
    path = Path(entry).expanduser()
    if path.is_file():
        return _for_file(path.stem, 80), _read(path)
    known = ", ".join(sorted(p.stem for p in PUBLISHED.glob("*.txt")))
    raise ConfigError(
        f"templates={entry}: neither a published set ({known}), nor a file, nor a text with "
        '{} for the class, as "a photo of a {}."'
    )


def _for_file(text: str, most: int) -> str:
    """`text` for a file's name, in at most `most` bytes: systems count these, not letters."""
    return re.sub(r"\W+", "_", text).encode()[:most].decode(errors="ignore")


def _read(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: over 1 MiB, too large for a file of templates")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a text file in UTF-8 with a template a line") from error
    templates = tuple(line.strip() for line in lines if line.strip())
    if not templates:
        raise ConfigError(f"{path}: holds no templates: want one a line")
    _check(templates, str(path))
    return templates


def _check(templates: Sequence[str], where: str, hint: str = "") -> None:
    for template in templates:
        if len(template) > MAX_LETTERS:
            raise ConfigError(
                f"{where}: the template {template[:80]!r} has {len(template)} letters: want at "
                f"most {MAX_LETTERS}"
            )
        if sum(template.count(placeholder) for placeholder in PLACEHOLDERS) != 1:
            raise ConfigError(
                f"{where}: the template {template[:80]!r} needs one {{}} for the class's name"
                + hint
            )
