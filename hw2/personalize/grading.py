"""Scoring generated pictures of concepts by CLIP."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from hw2.clip.finding import ClipSource
from hw2.clip.loading import load_clip
from hw2.clip.store import EmbeddingStore
from hw2.clip.tokenizing import context_length, count_tokens
from hw2.clip.zero_shot import class_embeddings
from hw2.data.concepts import Concept
from hw2.data.files import sha256_of
from hw2.data.images import decode
from hw2.errors import DataError
from hw2.metrics.concept_scores import (
    image_scores,
    likeness_of_sources,
    presence_threshold,
    text_scores,
)
from hw2.personalize.generated import Generated, Prompt
from hw2.personalize.numbered import Numbered, refuse_changed


@dataclass(frozen=True)
class Scored:
    """The scores of a prompt's pictures, in the order of their `numbers`."""

    numbers: tuple[int, ...]
    image: Float64[Tensor, " n"]
    text: Float64[Tensor, " n"]


@dataclass(frozen=True)
class Scores:
    """What CLIP says of all pictures.

    `together` has for each prompt, by way, the image scores for each of its concepts. `likeness` is
    how like each other a concept's pictures are, `thresholds` what those of others reach at most;
    without a second picture, or other concepts, they have no entry.
    """

    alone: dict[Prompt, Scored]
    against: dict[Prompt, Scored]
    together: list[dict[str, Float64[Tensor, "n concepts"]]]
    likeness: dict[str, float]
    thresholds: dict[str, float]


class Embedder:
    """A CLIP model with its own preprocessing."""

    def __init__(self, source: ClipSource, device: torch.device, batch_size: int) -> None:
        self.model, self.title = load_clip(source, device), source.title
        self.preprocess, self.device, self.batch_size = source.preprocess, device, batch_size

    def pictures(
        self, paths: Sequence[Path], advance: Callable[[int], object]
    ) -> Float[Tensor, "n d"]:
        """Unit vectors of pictures, upright; `advance` is told how many more are done.

        Raises DataError for a picture that cannot be read.
        """
        parts = []
        for first in range(0, len(paths), self.batch_size):
            batch = paths[first : first + self.batch_size]
            parts.append(self.prepared([self._pixels(path) for path in batch]))
            advance(len(batch))
        return torch.cat(parts)

    @torch.no_grad()
    def prepared(self, pictures: Sequence[np.ndarray]) -> Float[Tensor, "n d"]:
        """Unit vectors of pictures as `preprocess.pixels` makes them."""
        parts = []
        for first in range(0, len(pictures), self.batch_size):
            pixels = torch.from_numpy(np.stack(pictures[first : first + self.batch_size]))
            found = self.model.net.encode_image(self.preprocess.normalised(pixels.to(self.device)))
            parts.append(F.normalize(found.float(), dim=-1).cpu())
        return torch.cat(parts)

    def _pixels(self, path: Path) -> np.ndarray:
        try:
            return self.preprocess.pixels(decode(path, upright=True))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors of texts."""
        return class_embeddings(self.model.net, self.model.tokenize, [[t] for t in texts]).cpu()

    def check_texts(self, texts: Iterable[str]) -> None:
        """Raise DataError for a text that the model would cut off."""
        limit = context_length(self.model.tokenize)
        for text in texts:
            count = int(count_tokens(self.model.tokenize, [text]))
            if count > limit:
                raise DataError(
                    f"prompt_4_clip_eval={text!r} is {count} tokens with start and end, and "
                    f"{self.title} reads {limit}; the rest would be cut: shorten it, or give "
                    "another --pretrained"
                )


def score_pictures(
    embedder: Embedder,
    store: EmbeddingStore,
    everything: Mapping[str, Concept],
    generated: Generated,
    advance: Callable[[int], object],
) -> Scores:
    """The scores of all pictures, whose embeddings are kept in `store` and taken from there.

    `everything` are the concepts of input.json, also those that are not graded: their pictures are
    what a concept's threshold is taken from. Raises DataError for pictures that change meanwhile.
    """

    def embedded(paths: Sequence[Path]) -> Float[Tensor, "n d"]:
        content = _content(paths)
        if store.has(content):
            advance(len(paths))
        else:
            found = embedder.pictures(paths, advance)
            refuse_changed(content, _content(paths))  # else others' embeddings would be kept as its
            store.write(content, found.numpy(), [None] * len(paths))
        return torch.tensor(store.read(content)[0])

    sources = {name: embedded(concept.pictures) for name, concept in everything.items()}
    thresholds = {}
    for name, own in sources.items():
        others = [of for other, of in sources.items() if other != name]
        if others:
            thresholds[name] = presence_threshold(torch.cat(others), own)

    def scored(alone: Mapping[Prompt, Numbered]) -> dict[Prompt, Scored]:
        found = {}
        for (name, place), numbered in alone.items():
            pictures = embedded(list(numbered.values()))
            text = embedder.texts([everything[name].prompts_for_score[place]])[0]
            image = image_scores(pictures, sources[name])
            found[name, place] = Scored(tuple(numbered), image, text_scores(pictures, text))
        return found

    together = []
    for prompt in generated.together:
        ways = {}
        for way, numbered in prompt.ways.items():
            pictures = embedded(list(numbered.values()))
            scores = [image_scores(pictures, sources[name]) for name in prompt.concepts]
            ways[way] = torch.stack(scores, 1)
        together.append(ways)
    likeness = {name: likeness_of_sources(of) for name, of in sources.items() if len(of) > 1}
    alone, against = scored(generated.alone), scored(generated.against)
    return Scores(alone, against, together, likeness, thresholds)


def _content(paths: Sequence[Path]) -> str:
    """sha256 over the bytes of the pictures. Raises DataError if one is gone."""
    try:
        return hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: the file is missing") from None
