"""Merging Custom Diffusion's concepts: which features must keep and which must take a value."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.claims import refuse_infinite
from hw2.data.captions import refuse_cut
from hw2.data.files import read_text, reading
from hw2.disclosure import writable
from hw2.errors import CheckpointError, ConfigError, DataError
from hw2.personalize.deltas import Deltas, base_hash, cross_attention_weights, read_deltas
from hw2.personalize.finding import learnt_at
from hw2.personalize.merge import MergeResult, MergeSystem
from hw2.personalize.personalizer import Personalizer
from hw2.personalize.tokens import rename_clashing
from hw2.text2image.model import StableDiffusion
from hw2.text2image.prompts import check_prompt

MAX_BYTES = 64 * 2**20
ROUNDING = 1e-6  # of a matrix: less is another processor's or version's sums, in float32


@dataclass(frozen=True)
class Targets:
    """The features that one concept's tokens have in its captions, and where each comes from."""

    features: Float[Tensor, "m width"]
    names: tuple[str, ...]


def read_caption_texts(file: Path, count: int) -> list[str]:
    """`count` captions, evenly spread over the file: a text a line, or a CSV's column caption."""
    way_out = "point --captions at a file, or run `python -m jobs.prepare_data`"
    with reading(f"captions={file}", way_out):
        text = read_text(file, MAX_BYTES)
    if file.suffix.lower() == ".csv":
        lines = _captions_column(file, text)
    else:
        lines = [line.strip() for line in text.splitlines()]
    found = list(dict.fromkeys(line for line in lines if line))
    if not found:
        raise DataError(f"captions={file}: holds no caption")
    places = torch.linspace(0, len(found) - 1, min(count, len(found))).round().long()
    return [found[place] for place in places.tolist()]


def _captions_column(file: Path, text: str) -> list[str]:
    """The column caption of a CSV, of each row, empty where it ends early."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    captions = []
    try:
        header = rows.fieldnames or ()
        if "caption" not in header:
            raise DataError(f"captions={file}: has no column caption")
        for row in rows:
            captions.append((row["caption"] or "").strip())
            try:
                refuse_cut(captions[-1], len(header), row.get(None, ()))
            except DataError as error:
                raise DataError(f"captions={file}:{rows.line_num}: {error}") from None
    except csv.Error as error:
        line = rows.reader.line_num
        raise DataError(f"captions={file}:{line}: not a CSV ({error})") from None
    return captions


def read_concepts_to_merge(places: Sequence[Path], model: StableDiffusion) -> list[Deltas]:
    """What each jobs.custom_diffusion has learnt, by `learnt_at`, with tokens that do not clash.

    Raises CheckpointError for one of another base model or without captions of its own.
    """
    base = base_hash(model.unet, model.text_encoder)
    weights = cross_attention_weights(model.unet)
    found = []
    for place in places:
        with learnt_at(place, "concepts") as folder:
            found.append(replace(read_deltas(folder, base, weights), place=str(place)))
            if not _are_captions(found[-1].about.get("captions"), list(found[-1].rows)):
                raise CheckpointError(f"{folder}: does not say the captions of its tokens")
    names = iter(rename_clashing([token for one in found for token in one.rows]))
    return [renamed(one, [next(names) for _ in one.rows]) for one in found]


def _are_captions(found: Any, tokens: list[str]) -> bool:
    """Whether `found` has for each token captions in which it stands."""
    return (
        isinstance(found, list)
        and len(found) == len(tokens)
        and all(of and isinstance(of, list) for of in found)
        and all(
            isinstance(text, str) and token in text and writable(text)
            for token, of in zip(tokens, found, strict=True)
            for text in of
        )
    )


def renamed(learnt: Deltas, names: Sequence[str]) -> Deltas:
    """The same with other names for its tokens, in its captions too."""
    rows = dict(zip(names, learnt.rows.values(), strict=True))
    captions = [
        [caption.replace(old, new) for caption in of]
        for old, new, of in zip(learnt.rows, names, learnt.about["captions"], strict=True)
    ]
    return replace(learnt, rows=rows, about={**learnt.about, "captions": captions})


@torch.no_grad()
def kept_features(model: StableDiffusion, captions: Sequence[str]) -> Float[Tensor, "n width"]:
    """Features of captions' tokens, each from the start to the first end (no padding)."""
    tokens = model.tokens(captions)
    features = model.features(tokens).float().cpu()
    ends = (tokens == model.tokenizer.eos_token_id).int().argmax(1)
    inside = torch.arange(tokens.shape[1]) <= ends[:, None]
    return features[inside]


@torch.no_grad()
def target_features(model: StableDiffusion, learnt: Deltas, count: int) -> Targets:
    """Features of the learnt tokens and all that follows them, to the first end, in captions.

    What stands before a token is the base's own: the text encoder looks back alone. `model` must
    have become `learnt`; `count` captions of each token are taken, the first ones. Raises
    CheckpointError if a token's row is too large for the text encoder.
    """
    features, names = [], []
    for token, captions in zip(learnt.rows, learnt.about["captions"], strict=True):
        number = model.tokenizer.convert_tokens_to_ids(token)
        for caption in captions[:count]:
            check_prompt(model.tokenizer, caption, "caption")
            tokens = model.tokens([caption])[0]
            found = model.features(tokens[None])[0].float().cpu()
            refuse_infinite(learnt.place, {f"what the text encoder makes of {token}": found})
            first = tokens.tolist().index(number)
            end = tokens.tolist().index(model.tokenizer.eos_token_id)
            for place in range(first, end + 1):
                features.append(found[place])
                word = str(model.tokenizer.decode(tokens[place])).removesuffix("</w>")
                names.append(f"{word} of '{caption}'")
    return Targets(torch.stack(features), tuple(names))


@dataclass(frozen=True)
class Merged:
    """The merged weights and rows, and what the closed form says of each layer."""

    deltas: Deltas
    layers: dict[str, MergeResult]
    targets: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Worst figures of all layers, each layer's, and the names of the target rows."""
        results = self.layers.values()
        return {
            "worst_residual": max(result.residual for result in results),
            "worst_rounded_residual": max(result.rounded_residual for result in results),
            "objective": sum(result.objective**2 for result in results) ** 0.5,
            "targets": list(self.targets),
            "layers": {name: result.to_json() for name, result in self.layers.items()},
        }


def merge_deltas(
    model: StableDiffusion, concepts: Sequence[Deltas], captions: Sequence[str], num_targets: int
) -> Merged:
    """The concepts in one model (Kumari et al. 2023, eq. 4), a closed form for each K and V.

    The captions' features keep their keys and values as far as can be; the concepts' features take
    those that each concept's own weights give them. Raises CheckpointError for weights that are
    too large to be merged.
    """
    personalizer = Personalizer(model)
    regular = kept_features(personalizer.become(None), captions)
    targets = [
        target_features(personalizer.become(learnt), learnt, num_targets) for learnt in concepts
    ]
    personalizer.become(None)
    if (needed := sum(len(of.names) for of in targets)) > model.text_width:
        raise ConfigError(
            f"num_targets={num_targets}: {needed} features are to take values, more than the "
            f"{model.text_width} dimensions of the text: take fewer"
        )
    system = MergeSystem(regular, torch.cat([of.features for of in targets]))
    layers = {}
    for name, base in personalizer.weights.items():
        values = [
            of.features @ learnt.weights[name].T
            for of, learnt in zip(targets, concepts, strict=True)
        ]
        for learnt, value in zip(concepts, values, strict=True):
            refuse_infinite(learnt.place, {f"{name} times its tokens' features": value})
        layers[name] = system.solve(base.cpu(), torch.cat(values))
        most = max(range(len(values)), key=lambda place: float(values[place].abs().max()))
        refuse_infinite(concepts[most].place, {f"{name}, merged,": layers[name].weight})
    merged = Deltas(
        concepts[0].base,
        {name: result.weight for name, result in layers.items()},
        {token: row for learnt in concepts for token, row in learnt.rows.items()},
        {"captions": [of for learnt in concepts for of in learnt.about["captions"]]},
    )
    return Merged(merged, layers, tuple(name for of in targets for name in of.names))


def is_merged(folder: Path, deltas: Deltas, base_weights: Mapping[str, Tensor]) -> bool:
    """Whether `folder` has `deltas` already, but for rounding of the matrices."""
    try:
        kept = read_deltas(folder, deltas.base, base_weights)
    except CheckpointError:
        return False
    if [*kept.rows] != [*deltas.rows] or json.dumps(kept.about) != json.dumps(deltas.about):
        return False
    pairs = [(row, deltas.rows[token], 0.0) for token, row in kept.rows.items()]
    pairs += [(old, deltas.weights[name], ROUNDING) for name, old in kept.weights.items()]
    return all((old - new.cpu()).norm() <= share * new.norm().cpu() for old, new, share in pairs)
