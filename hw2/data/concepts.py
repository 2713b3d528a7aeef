"""Reading concepts to personalize: the course's input.json and the folders that it names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from hw2.data.files import Repeated, inside, once, parse_json, read_text
from hw2.data.images import SUFFIXES, decode_named, orientation
from hw2.data.listing.folders import warn_of_other_files
from hw2.disclosure import warn, writable
from hw2.errors import ConfigError, DataError
from hw2.pixels import stacked

MAX_BYTES = 4 * 2**20  # of input.json
MAX_PICTURES = 1000
KINDS = ("object", "style")


@dataclass(frozen=True)
class Concept:
    """One entry of input.json: pictures, the token to learn, prompts, and what to reach.

    `baselines` are pairs of CLIP image and text score, 100 times a cosine, one a prompt.
    `initializer_token` and `kind` are not in the course's file; None where they are missing.
    """

    source: str
    pictures: tuple[Path, ...]
    token_name: str
    prompts: tuple[str, ...]
    prompts_for_score: tuple[str, ...]
    baselines: tuple[tuple[float, float], ...]
    initializer_token: str | None = None
    kind: Literal["object", "style"] | None = None

    @cached_property
    def content_hash(self) -> str:
        """sha256 over the bytes of the pictures, and the orientation of those that get turned."""
        digest = hashlib.sha256()
        for path in self.pictures:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
            if (turned := orientation(path)) > 1:  # once they were learnt on their side
                digest.update(f"orientation {turned}".encode())
        return digest.hexdigest()


def warn_of_prompts(concept: Concept) -> None:
    """Say which of its prompts do not name the concept: their pictures know nothing of it."""
    for prompt in concept.prompts:
        if concept.token_name not in prompt:
            said = f"source {concept.source}: prompt {prompt[:80]!r} of input.json"
            warn(f"{said} does not name {concept.token_name}: its pictures do not show the concept")


def warn_of_files(concept: Concept) -> None:
    """Say which files beside its pictures are of kinds that are not read, as a phone's HEIC."""
    learnt = f"source {concept.source}: learnt from {len(concept.pictures)} pictures"
    warn_of_other_files(concept.pictures[0].parent, learnt)


def sources_by_token(concepts: Mapping[str, Concept]) -> dict[str, list[str]]:
    """The sources that each token means, in lower case; several share one only by mistake."""
    found: dict[str, list[str]] = {}
    for source, concept in concepts.items():
        found.setdefault(concept.token_name.lower(), []).append(source)
    return found


def refuse_shared_tokens(
    concepts: Mapping[str, Concept], way_out: str = "draw them apart with --sources"
) -> None:
    """Raise ConfigError if two concepts have one token, in upper or lower case."""
    for first, *more in sources_by_token(concepts).values():
        if more:
            raise ConfigError(
                f"sources {first} and {more[0]} are both called {concepts[more[0]].token_name}: "
                f"give each a token_name of its own in input.json, or {way_out}"
            )


def read_concepts(file: Path) -> dict[str, Concept]:
    """The concepts of an input.json by source, in its order.

    Raises DataError, with the value, for a file that is missing, not such JSON, or names folders
    outside its own or without pictures.
    """
    file = file.expanduser().absolute()
    try:
        found = parse_json(read_text(file, MAX_BYTES), once)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except OSError as error:
        raise DataError(
            f"{file}: cannot be read ({error.strerror}): point --input at the course's input.json, "
            "or run `python -m jobs.prepare_data`"
        ) from None
    except Repeated as error:
        raise DataError(f"{file}: {str(error)[:80]!r} is there twice: keep one") from None
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from None
    if not isinstance(found, dict) or not found:
        raise DataError(f'{file}: want concepts by source, {{"0": {{"src_image": .., ..}}, ..}}')
    return {source: _concept(file, source, entry) for source, entry in found.items()}


def one_concept(concepts: Mapping[str, Concept], source: str) -> Concept:
    """The concept called `source`; ConfigError if there is none."""
    if source not in concepts:
        raise ConfigError(f"source={source}: no such concept; there is {', '.join(concepts)}")
    return concepts[source]


def chosen_concepts(
    concepts: Mapping[str, Concept], sources: Sequence[str] | None
) -> dict[str, Concept]:
    """Those called `sources`, in this order; None or none: all. ConfigError for an unknown one."""
    return {source: one_concept(concepts, source) for source in sources or concepts}


def concept_pictures(concept: Concept, image_size: int) -> UInt8[Tensor, "n 3 h w"]:
    """The pictures 0..255, the middle square of each, upright and scaled.

    Raises DataError for a bad one.
    """
    squares = []
    for path in concept.pictures:
        try:
            square = Image.fromarray(decode_named(path, upright=True, middle=True))
        except DataError as error:
            raise DataError(f"{error}: replace it, or leave it out of src_image") from None
        if square.width != image_size:
            square = square.resize((image_size, image_size), Image.Resampling.BICUBIC)
        squares.append(np.asarray(square))
    return stacked(squares)


def _concept(file: Path, source: str, entry: Any) -> Concept:
    where = f"{file}: source {source[:40]!r}"
    if source in ("", ".", "..") or not source.isprintable() or set(source) & {"/", "\\"}:
        raise DataError(f"{where}: a source names a folder of results; want a word such as 0")
    if not isinstance(entry, dict):
        raise DataError(f"{where}: want an object with src_image, token_name, prompt, ..")
    pictures = _pictures(where, file.parent, source, _get(where, entry, "src_image"))
    prompts = _texts(where, entry, "prompt")
    scored = _texts(where, entry, "prompt_4_clip_eval")
    baselines = _baselines(where, entry)
    if not len(prompts) == len(scored) == len(baselines):
        raise DataError(
            f"{where}: prompt, prompt_4_clip_eval and baseline have {len(prompts)}, {len(scored)} "
            f"and {len(baselines)} entries, want as many of each"
        )
    token = _get(where, entry, "token_name")
    if not isinstance(token, str) or not token.isprintable() or token.split() != [token]:
        raise DataError(f"{where}: token_name={str(token)[:80]!r}: want one word, such as <new1>")
    word, kind = entry.get("initializer_token"), entry.get("kind")
    if word is not None and not _is_text(word):
        raise DataError(f"{where}: initializer_token={str(word)[:80]!r}: want a word")
    if kind is not None and kind not in KINDS:
        raise DataError(f"{where}: kind={str(kind)[:80]!r}: want {' or '.join(KINDS)}")
    return Concept(source, pictures, token, prompts, scored, baselines, word, kind)


def _get(where: str, entry: Mapping[str, Any], key: str) -> Any:
    if key not in entry:
        raise DataError(f"{where}: has no {key}")
    return entry[key]


def _texts(where: str, entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = _get(where, entry, key)
    found = [found] if isinstance(found, str) else found
    good = isinstance(found, list) and found and all(map(_is_text, found))
    if not good:
        raise DataError(f"{where}: {key}={str(found)[:80]!r}: want a list of texts")
    return tuple(found)


def _is_text(found: Any) -> bool:
    return isinstance(found, str) and bool(found.strip()) and writable(found)


def _baselines(where: str, entry: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    found = _get(where, entry, "baseline")
    pairs = []
    for pair in found if isinstance(found, list) else [found]:
        good = (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(x, int | float) and not isinstance(x, bool) for x in pair)
            and all(-100 <= x <= 100 for x in pair)
        )
        if not good:
            raise DataError(
                f"{where}: baseline={str(pair)[:80]!r}: want [image, text], each of -100 to 100"
            )
        pairs.append((float(pair[0]), float(pair[1])))
    return tuple(pairs)


def _pictures(where: str, root: Path, source: str, given: Any) -> tuple[Path, ...]:
    """The pictures that `src_image` names: a folder, a file, or a list of files."""
    names = given if isinstance(given, list) else [given]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{where}: src_image={str(given)[:80]!r}: want a folder or files")
    paths = [_inside(where, root, name) for name in names]
    if len(paths) > 1 and (gone := [path for path in paths if not path.is_file()]):
        raise DataError(f"{where}: src_image: {gone[0]} is no file")
    if len(paths) == 1 and not paths[0].exists():
        paths = [_inside(where, root, source)]  # the course's folders are called so
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        paths = [_inside(where, root, p) for p in paths if p.suffix.lower() in SUFFIXES]
    else:
        folder = root / names[0]  # what was asked for, wherever it was looked for
    if not paths or not all(path.is_file() for path in paths):
        raise DataError(
            f"{where}: src_image={str(given)[:80]!r}: {folder} holds no pictures: want "
            f"{', '.join(SUFFIXES)}"
        )
    if len(paths) > MAX_PICTURES:
        raise DataError(f"{where}: {len(paths)} pictures; at most {MAX_PICTURES} are a concept")
    return tuple(paths)


def _inside(where: str, root: Path, name: str | Path) -> Path:
    """A path below `root`, links followed; DataError for one that leads elsewhere."""
    path = root / name
    if not inside(path, root):
        raise DataError(f"{where}: {str(name)[:80]!r} leads out of {root}")
    return path
