"""The pictures that jobs.generate_concepts left: found by the course's names, and checked."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hw2.data.concepts import Concept, chosen_concepts, sources_by_token
from hw2.data.files import inside, read_json
from hw2.data.images import SUFFIXES, decode_named
from hw2.disclosure import warn, writable
from hw2.errors import ConfigError, DataError
from hw2.personalize.finding import drawn_at
from hw2.personalize.generating import TOGETHER, source_stem, together_stem
from hw2.settings.grading import GradeConceptsConfig
from hw2.text2image.prompts import PLACEHOLDER
from hw2.yaml_text import read_yaml

PROMPTS = "prompts.json"
SHOWN = 5  # names in a message
Prompt = tuple[str, int]  # a concept and the place of one of its prompts
Numbered = dict[int, Path]  # a prompt's pictures by the number of their noise, in its order


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
    not known, and for pictures without their counterpart; CheckpointError for a URI without any.
    """
    wanted = chosen_concepts(everything, config.sources)
    count = config.num_pictures
    with drawn_at(config.generated, "generated") as folder:
        alone, against = _asked_for(find_alone(folder, wanted), count), {}
        if config.against is not None:
            with drawn_at(config.against, "against") as other:
                _refuse_unpaired(folder, other)
                against = _asked_for(find_alone(other, wanted), count)
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


def _asked_for(
    found: dict[tuple[str, int], Numbered], count: int | None
) -> dict[tuple[str, int], Numbered]:
    """The pictures of each prompt, or way of one, with numbers below `count`; None: all."""
    if count is None:
        return found
    asked = {
        key: {number: path for number, path in numbered.items() if number < count}
        for key, numbered in found.items()
    }
    if none := [next(iter(found[key].values())) for key in found if not asked[key]]:
        raise DataError(f"{none[0]}: num_pictures={count} is for numbers 0 to {count - 1}")
    if more := sum(map(len, found.values())) - sum(map(len, asked.values())):
        warn(f"num_pictures={count}: {more} pictures with higher numbers do not count")
    return asked


def find_alone(folder: Path, wanted: Mapping[str, Concept]) -> dict[Prompt, Numbered]:
    """The pictures of single concepts, {source}/{prompt}/source{source}_prompt{prompt}_{n}.png."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: want one of jobs.generate_concepts")
    found = {}
    for source, concept in wanted.items():
        if not (folder / source).is_dir():
            raise DataError(
                f"{folder / source} does not exist: draw the pictures of source {source}, or name "
                "by --sources those that there are"
            )
        count = len(concept.prompts)
        _refuse_more(folder / source, count, f"source {source} in input.json")
        for place in range(count):
            found[source, place] = _numbered(folder, source_stem(source, place))
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
        _refuse_more(base / way, len(prompts), str(base / PROMPTS))
    found = {
        (way, place): _numbered(folder, together_stem(way, place))
        for place in range(len(prompts))
        for way in ways
    }
    found, together = _asked_for(found, count), []
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


def check_pairs(one: Numbered, other: Numbered) -> None:
    """Raise DataError for a picture whose number the other folder does not have."""
    for a, b in ((one, other), (other, one)):
        alone = [path for number, path in a.items() if number not in b]
        if alone:
            folder = next(iter(b.values())).parent
            raise DataError(
                f"{alone[0]} has no picture of the same number in {folder}: draw as many in both"
            )


def check_pictures(paths: Iterable[Path], square: bool = True) -> str:
    """A hash of the pictures' bytes. Raises DataError for one that is torn or not square."""
    digest = hashlib.sha256()
    for path in paths:
        height, width, _ = decode_named(path).shape
        if square and height != width:
            raise DataError(f"{path} is {width}x{height}: want a square picture, as models draw")
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _numbered(folder: Path, stem: str) -> Numbered:
    place = folder / Path(stem).parent
    form = re.compile(rf"{re.escape(Path(stem).name)}_(0|[1-9]\d*)\.png")
    found = {}
    for path in sorted(place.glob("[!.]*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        match = form.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path}: want the name {Path(stem).name}_N.png, N from 0 on")
        if path.is_symlink() and not inside(path, folder):
            raise DataError(f"{path}: it leaves the folder by a link")
        found[int(match[1])] = path
    if not found:
        others = sorted(path.name for path in place.glob("[!.]*"))[:SHOWN]
        there = f"; found {', '.join(others)}" if others else ""
        raise DataError(f"{place}: no pictures: want {Path(stem).name}_0.png and on{there}")
    return dict(sorted(found.items()))


def _refuse_more(folder: Path, count: int, where: str) -> None:
    """Pictures of prompts that nobody knows would be left out in silence."""
    for path in sorted(folder.iterdir()):
        if path.name.isdecimal() and int(path.name) >= count:
            raise DataError(f"{path}: no such prompt: {where} has {count}, numbered from 0")


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
