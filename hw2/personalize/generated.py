"""What jobs.generate_concepts left: of each prompt its pictures, and of each way."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hw2.data.concepts import Concept, chosen_concepts, sources_by_token
from hw2.data.files import read_json
from hw2.disclosure import writable
from hw2.errors import ConfigError, DataError
from hw2.lock import refuse_at_work
from hw2.personalize.finding import drawn_at
from hw2.personalize.generating import TOGETHER, source_stem, together_stem
from hw2.personalize.numbered import (
    Numbered,
    asked_for,
    check_pairs,
    check_pictures,
    find_numbered,
    refuse_more,
)
from hw2.settings.grading import GradeConceptsConfig
from hw2.text2image.prompts import PLACEHOLDER
from hw2.yaml_text import read_yaml

PROMPTS = "prompts.json"
Prompt = tuple[str, int]  # a concept and the place of one of its prompts


@dataclass(frozen=True)
class Together:
    """A prompt with the tokens of several concepts, and its pictures by way."""

    prompt: str
    concepts: tuple[str, ...]
    ways: dict[str, Numbered]


@dataclass(frozen=True)
class Generated:
    """Generated pictures by concept and prompt, and those of several concepts.

    `against` has the same of the folder to compare with, empty without one.
    """

    alone: dict[Prompt, Numbered]
    against: dict[Prompt, Numbered]
    together: list[Together]

    @property
    def paths(self) -> list[Path]:
        """All pictures of the folder itself."""
        together = [numbered for one in self.together for numbered in one.ways.values()]
        return _all([*self.alone.values(), *together])

    @property
    def paths_against(self) -> list[Path]:
        """All pictures of the folder to compare with."""
        return _all(self.against.values())


def _all(sets: Iterable[Numbered]) -> list[Path]:
    return [path for numbered in sets for path in numbered.values()]


def find_generated(config: GradeConceptsConfig, everything: Mapping[str, Concept]) -> Generated:
    """What there is to grade: the pictures of each prompt, and in each way those together.

    Raises ConfigError for an unknown concept; DataError for what is missing, for prompts that are
    not known, and for pictures without their counterpart; CheckpointError for a URI without any;
    BusyError for a folder that a job is still drawing.
    """
    wanted = chosen_concepts(everything, config.sources)
    count = config.num_pictures
    with drawn_at(config.generated, "generated") as folder:
        alone, against = asked_for(find_alone(folder, wanted), count), {}
        if config.against is not None:
            with drawn_at(config.against, "against") as other:
                _refuse_unpaired(folder, other)
                against = asked_for(find_alone(other, wanted), count)
                for key, numbered in alone.items():
                    check_pairs(numbered, against[key])
        return Generated(alone, against, find_together(folder, everything, count))


def hashes_of_generated(config: GradeConceptsConfig, found: Generated) -> dict[str, str]:
    """Hashes of the bytes of all pictures found. Raises DataError for one that is no square one."""
    with drawn_at(config.generated, "generated"):
        hashes = {"generated": check_pictures(found.paths)}
    if config.against is not None:
        with drawn_at(config.against, "against"):
            hashes["against"] = check_pictures(found.paths_against)
    return hashes


def find_alone(folder: Path, wanted: Mapping[str, Concept]) -> dict[Prompt, Numbered]:
    """The pictures of single concepts, {source}/{prompt}/source{source}_prompt{prompt}_{n}.png."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: want one of jobs.generate_concepts")
    refuse_at_work(folder)
    found = {}
    for source, concept in wanted.items():
        if not (folder / source).is_dir():
            raise DataError(
                f"{folder / source} does not exist: draw the pictures of source {source}, or name "
                "by --sources those that there are"
            )
        count = len(concept.prompts)
        refuse_more(folder / source, count, f"source {source} in input.json")
        for place in range(count):
            found[source, place] = find_numbered(folder, source_stem(source, place))
    return found


def find_together(
    folder: Path, everything: Mapping[str, Concept], count: int | None = None
) -> list[Together]:
    """The prompts of `folder`/together/prompts.json, and the pictures of every way.

    Those whose numbers are below `count`; None: all.
    """
    base = folder / TOGETHER
    if not base.is_dir():
        return []
    prompts, order = _read_prompts(base / PROMPTS)
    ways = [path.name for path in base.iterdir() if path.is_dir() and path.name[0] != "."]
    ways.sort(key=lambda way: (order.index(way) if way in order else len(order), way))
    if not ways:
        raise DataError(f"{base}: no pictures: want a folder for each way, such as merged")
    for way in ways:
        refuse_more(base / way, len(prompts), str(base / PROMPTS))
    found = {
        (way, place): find_numbered(folder, together_stem(way, place))
        for place in range(len(prompts))
        for way in ways
    }
    found, together = asked_for(found, count), []
    for place, prompt in enumerate(prompts):
        concepts = concepts_in(prompt, everything, base / PROMPTS)
        own = {way: found[way, place] for way in ways}
        for way in ways[1:]:
            check_pairs(own[ways[0]], own[way])
        together.append(Together(prompt, concepts, own))
    return together


def concepts_in(
    prompt: str, everything: Mapping[str, Concept], where: Path | str
) -> tuple[str, ...]:
    """The concepts whose tokens `prompt` holds, in their order there; `where` it comes from.

    Raises DataError for a <word> that is no token, for fewer than two concepts, and for a token
    that several concepts share.
    """
    tokens = sources_by_token(everything)
    has = f"input.json has {', '.join(tokens)}"
    for word in PLACEHOLDER.findall(prompt):
        if word.lower() not in tokens:
            raise DataError(f"{where}: prompt={prompt!r}: {word} is no token: {has}")
    places = {}
    for token, sources in tokens.items():
        # Not within a longer word; one in brackets may touch others.
        first, last = (r"\b" if re.match(r"\w", end) else "" for end in (token[0], token[-1]))
        found = re.search(first + re.escape(token) + last, prompt.lower())
        if found and len(sources) > 1:
            raise DataError(
                f"{where}: prompt={prompt!r}: sources {' and '.join(sources)} of input.json share "
                f"{token}: give them tokens of their own"
            )
        if found:
            places[sources[0]] = found.start()
    if len(places) < 2:
        raise DataError(f"{where}: prompt={prompt!r} has {len(places)} concepts, want two: {has}")
    return tuple(sorted(places, key=places.__getitem__))


def _refuse_unpaired(generated: Path, against: Path) -> None:
    """Raise ConfigError if two folders are one, or of jobs that drew from other noises."""
    if against.resolve() == generated.resolve():
        raise ConfigError(f"against={against}: the folder itself: give one to compare it with")
    seeds = [
        read_yaml(record).get("seed") if (record := folder / "config.yaml").is_file() else None
        for folder in (generated, against)
    ]
    if None not in seeds and seeds[0] != seeds[1]:
        raise ConfigError(
            f"against={against}: drawn with seed={seeds[1]}, {generated} with seed={seeds[0]}: "
            "pictures are compared that start from the same noise"
        )


def _read_prompts(path: Path) -> tuple[list[str], list[str]]:
    """The prompts, and the ways in their order where they are named."""
    wanted = f'{path}: want {{"prompts": ["a <new1> next to a <new2>", ..]}}'
    try:
        content = read_json(path)
        prompts, ways = content["prompts"], content.get("ways", [])
    except FileNotFoundError:
        raise DataError(f"{wanted}; it does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{wanted}; it is broken") from None
    for name, texts in (("prompts", prompts), ("ways", ways)):
        good = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        if not (good and all(map(writable, texts))):
            raise DataError(f"{wanted}; its {name} are no list of texts")
    if not prompts:
        raise DataError(f"{wanted}; it has none")
    return prompts, ways
