"""The ways in which a model may know concepts: separate inversions, joint training, merge."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from hw2.data.concepts import Concept, refuse_shared_tokens
from hw2.disclosure import warn
from hw2.errors import CheckpointError, ConfigError, DataError
from hw2.locate import shown
from hw2.personalize.deltas import Deltas, base_hash, cross_attention_weights, read_deltas
from hw2.personalize.embeddings import read_embeddings
from hw2.personalize.finding import learnt_at
from hw2.personalize.inversion import EMBEDDING
from hw2.personalize.others import others_file, read_others
from hw2.personalize.tokens import initializer_id
from hw2.places import uri_of
from hw2.settings.personalize import GenerateConceptsConfig
from hw2.text2image.model import StableDiffusion

Ways = dict[str, Deltas]
MAX_TOKENS = 1000  # of a way: each is compared with all words; a small file may name a million


def read_ways(
    config: GenerateConceptsConfig, model: StableDiffusion, concepts: Mapping[str, Concept]
) -> Ways:
    """What each way that the settings name brings to `model`, in the order of preference.

    Raises ConfigError if they name none, CheckpointError for files of another model, or of too many
    tokens.
    """
    if config.untrained:
        return {"untrained": _untrained(model, concepts)}
    base = base_hash(model.unet, model.text_encoder)
    weights = cross_attention_weights(model.unet)
    ways = {}
    if config.separate:
        ways["separate"] = _separate(config.separate, model, base)
    for way, place in (("joint", config.joint), ("merged", config.merged)):
        if place is not None:
            ways[way] = _of_weights(way, place, base, weights)
    if not ways:
        raise ConfigError(
            "separate=[], joint=null, merged=null: nothing was learnt; give folders of "
            "jobs.textual_inversion, jobs.custom_diffusion or jobs.merge_concepts, or "
            "--untrained true"
        )
    for way, learnt in ways.items():
        if (count := len(learnt.rows)) > MAX_TOKENS:
            raise CheckpointError(
                f"{way}: its files bring {count} tokens, over the allowed {MAX_TOKENS}: give files "
                "of those that are drawn"
            )
    return ways


def _of_weights(way: str, place: Path, base: str, weights: Mapping[str, Tensor]) -> Deltas:
    with learnt_at(place, way) as found:
        if way == "joint" and (theirs := others_file(found)):
            others = read_others(theirs, base, weights)
            warn(f"{way}={shown(place)}: does not tell its base model: taken to be --model")
            return others
        learnt = read_deltas(found, base, weights)
    trained = "step" in learnt.about
    if trained != (way == "joint"):
        by, other = ("custom_diffusion", "joint") if trained else ("merge_concepts", "merged")
        raise ConfigError(f"{way}={shown(place)}: made by jobs.{by}: give it to --{other}")
    return learnt


def _separate(files: Sequence[str], model: StableDiffusion, base: str) -> Deltas:
    rows: dict[str, Tensor] = {}
    for given in files:
        token, place = None, given
        # A folder's own name may have one, as lr=0.01, and so may a bucket's options.
        if "=" in given and not uri_of(given) and not Path(given).expanduser().exists():
            token, _, place = given.partition("=")
        with learnt_at(place, "separate") as path:
            if path.is_dir():
                if not (path / EMBEDDING).is_file():
                    raise CheckpointError(
                        f"separate={given}: has no {EMBEDDING}: give a folder of "
                        "jobs.textual_inversion; one of jobs.custom_diffusion goes to --joint"
                    )
                path = path / EMBEDDING
            found = read_embeddings(path, model.text_width, token or None)
        for embedding in found:
            if embedding.token in rows:
                raise ConfigError(f"separate={given}: {embedding.token} is in another file already")
            rows[embedding.token] = embedding.row
    return Deltas(base, {}, rows, {})


def _untrained(model: StableDiffusion, concepts: Mapping[str, Concept]) -> Deltas:
    refuse_shared_tokens(concepts)
    table = model.token_table.weight.detach()
    rows = {}
    for concept in concepts.values():
        if concept.initializer_token is None:
            raise DataError(
                f"source {concept.source} names no initializer_token: what its token is before "
                'training is not known; add "initializer_token": "a word" to it in input.json'
            )
        word = initializer_id(model.tokenizer, concept.initializer_token)
        rows[concept.token_name] = table[word].clone()
    return Deltas(base_hash(model.unet, model.text_encoder), {}, rows, {})


def hashes_of(ways: Ways, concepts: Mapping[str, Concept]) -> dict[str, str]:
    """Digests of what each way brings, and of the concepts that are drawn."""
    found = {f"concept.{source}": concept.content_hash for source, concept in concepts.items()}
    for way, learnt in ways.items():
        digest = hashlib.sha256(learnt.base.encode())
        for name, value in [*learnt.weights.items(), *learnt.rows.items()]:
            digest.update(name.encode() + value.detach().float().contiguous().numpy().tobytes())
        found[way] = digest.hexdigest()
    return found
