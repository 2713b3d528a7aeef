"""Drawing the course's picture folders of concepts: what is to draw, what is written."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hw2.data.concepts import Concept, refuse_shared_tokens, warn_of_prompts
from hw2.data.files import write_json
from hw2.errors import ConfigError
from hw2.figures.files import write_atomic
from hw2.personalize.personalizer import Personalizer
from hw2.personalize.ways import Ways
from hw2.pieces import MakeWork, Piece
from hw2.settings.personalize import CustomDiffusionConfig, GenerateConceptsConfig
from hw2.settings.values import absolute
from hw2.text2image.drawing import draw
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.model import StableDiffusion
from hw2.text2image.prompts import check_prompt

TOGETHER = "together"


def source_stem(source: str, prompt: int) -> str:
    """Folder and beginning of the names of a concept's pictures, as the course has them."""
    return f"{source}/{prompt}/source{source}_prompt{prompt}"


def together_stem(way: str, prompt: int) -> str:
    """The same for prompts with several concepts."""
    return f"{TOGETHER}/{way}/{prompt}/{way}_prompt{prompt}"


def picture_path(out: Path, stem: str, number: int) -> Path:
    """Where picture `number` (from 0) goes."""
    return out / f"{stem}_{number}.png"


def prompts_to_draw(
    config: GenerateConceptsConfig, ways: Ways, concepts: Mapping[str, Concept]
) -> list[Piece]:
    """Way, prompt and stem of each prompt: the concepts' own in the first way, then those together.

    Raises ConfigError for a concept whose token the first way does not bring, or that shares it
    with another.
    """
    first, learnt = next(iter(ways.items()))
    found = []
    refuse_shared_tokens(concepts)
    for source, concept in concepts.items():
        if concept.token_name not in learnt.rows:
            way = "give files that have it, name it so in input.json (token_name, prompts)"
            if first == "separate":
                way = f"give its file too (by {concept.token_name}=FILE if that calls it otherwise)"
            raise ConfigError(
                f"sources={source}: its {concept.token_name} is not in the {first} files, which "
                f"bring {', '.join(learnt.rows)}: {way}, or leave it out of --sources"
            )
        warn_of_prompts(concept)
        for place, prompt in enumerate(concept.prompts):
            found.append({"way": first, "prompt": prompt, "stem": source_stem(source, place)})
    for way in ways:
        for place, prompt in enumerate(config.together):
            found.append({"way": way, "prompt": prompt, "stem": together_stem(way, place)})
    return found


def hashes_of_prompts(prompts: Sequence[Piece]) -> dict[str, str]:
    """Digests of the prompts by the folders of their pictures, and of the way of the concepts' own.

    Pictures are known by their names alone, which another prompt in the same place would have too.
    Further prompts have further names.
    """
    texts = {f"prompt.{Path(piece['stem']).parent}": piece["prompt"] for piece in prompts}
    texts["first_way"] = prompts[0]["way"]
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def check_prompts(
    model: StableDiffusion, prompts: Iterable[Piece], ways: Ways, negative_prompt: str
) -> None:
    """Raise ConfigError for a prompt with a token that its way does not bring, or one too long."""
    personalizer = Personalizer(model)
    for way, learnt in ways.items():
        tokenizer = personalizer.become(learnt).tokenizer
        check_prompt(tokenizer, negative_prompt, "negative_prompt")
        for piece in prompts:
            if piece["way"] == way:
                check_prompt(tokenizer, piece["prompt"], f"{way}: prompt")
    personalizer.become(None)


def pieces_to_draw(
    config: GenerateConceptsConfig, prompts: Iterable[Piece], out: Path
) -> tuple[list[Piece], int]:
    """The chunks that are not wholly in `out`, and how many pictures are.

    A chunk is drawn in full, so that a picture's bytes do not depend on how many are wanted.
    """
    size, pieces, done = config.pictures_per_chunk, [], 0
    for prompt in prompts:
        for first in range(0, config.num_pictures, size):
            numbers = range(first, min(first + size, config.num_pictures))
            paths = [picture_path(out, prompt["stem"], number) for number in numbers]
            if all(path.is_file() for path in paths):
                done += len(paths)
            else:
                texts = [prompt["prompt"]] * size
                pieces.append(piece_of(texts, first, paths, prompt["way"]))
    return pieces, done


def piece_of(
    texts: Sequence[str], first: int, paths: Sequence[Path], way: str | None = None
) -> Piece:
    """Pictures of `texts` by the noises from `first` on, of which the first go to `paths`."""
    return {"way": way, "texts": texts, "first": first, "paths": paths}


def make_worker(config: GenerateConceptsConfig | CustomDiffusionConfig, ways: Ways) -> MakeWork:
    """What an actor does: load the base model once, then draw chunks in the way of each, if any."""
    name = absolute(config.model)

    def make(on_gpu: bool) -> Callable[[Piece], Piece]:
        base = load_stable_diffusion(name)
        personalizer = Personalizer(base.to(torch.device("cuda" if on_gpu else "cpu")))

        def work(piece: Piece) -> Piece:
            model = personalizer.become(None if piece["way"] is None else ways[piece["way"]])
            texts, first = piece["texts"], piece["first"]
            indices = range(first, first + len(texts))
            drawn = draw(model, texts, config.sample, indices=indices, seed=config.seed)
            return {"paths": piece["paths"], "pictures": drawn.movedim(1, -1).numpy()}

        return work

    return make


def write_pieces(results: Iterable[Piece]) -> Iterator[int]:
    """Write each result's pictures; yields how many it had. Files appear whole or not at all."""
    for result in results:
        for path, pixels in zip(result["paths"], result["pictures"], strict=False):
            write_atomic(path, Image.fromarray(np.array(pixels)))
        yield len(result["paths"])


def write_prompts(config: GenerateConceptsConfig, ways: Ways, out: Path) -> None:
    """OUT/together/prompts.json, by which the grader knows the prompts."""
    if config.together:
        (out / TOGETHER).mkdir(exist_ok=True)
        about = {"prompts": list(config.together), "ways": list(ways)}
        write_json(out / TOGETHER / "prompts.json", about)
