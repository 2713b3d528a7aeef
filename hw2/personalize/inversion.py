"""Textual inversion: one new row of the token table, and nothing else, learns a concept."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from hw2.personalize.concept_training import (
    Asked,
    Learnt,
    concept_training,
    read_learnt,
    tried_inputs,
)
from hw2.personalize.deltas import base_hash
from hw2.personalize.embeddings import TokenEmbedding, save_embedding
from hw2.settings.personalize import TextualInversionConfig
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.model import StableDiffusion
from hw2.training import Training
from hw2.weights import read_meta

EMBEDDING = "learned_embeds.safetensors"
ROWS = "text_encoder.embeddings.token_embedding.rows"


def read_one(config: TextualInversionConfig, model: StableDiffusion) -> Learnt:
    """The concept to learn. Raises as `read_learnt` does."""
    asked = Asked(config.source, config.token_name, config.initializer_token, config.templates)
    return read_learnt(config, [asked], model.image_size)[0]


def inversion_training(
    config: TextualInversionConfig, out: Path, device: torch.device | None = None
) -> Training:
    """The training of Gal et al. 2023, eq. 2: the row that lowers the error on the pictures.

    These are encoded on `device`.
    """
    model = load_stable_diffusion(config.model)
    base = base_hash(model.unet, model.text_encoder)
    learnt = read_one(config, model)
    meta = {
        "kind": "textual_inversion",
        "base": base,
        "token": learnt.token,
        "initializer": learnt.initializer,
        "data_hash": learnt.concept.content_hash,
    }
    return concept_training(config, out, model, [learnt], meta, device)


def inversion_inputs(config: TextualInversionConfig) -> dict[str, str]:
    """Hashes of what the training starts from; all that could refuse it is tried."""
    model = load_stable_diffusion(config.model)
    learnt = read_one(config, model)
    return {"concept": learnt.concept.content_hash} | tried_inputs(config, model, [learnt])


def learnt_rows(weights: Path) -> Float[Tensor, "k width"]:
    """The averaged new rows of a finished training."""
    read_meta(weights)
    with safe_open(weights, framework="pt") as file:
        return file.get_tensor(f"ema.{ROWS}")


def write_embedding(weights: Path, out: Path) -> TokenEmbedding:
    """The row of a finished training as OUT/learned_embeds.safetensors, which diffusers loads."""
    meta = read_meta(weights)
    embedding = TokenEmbedding(meta["token"], learnt_rows(weights)[0])
    about = {key: meta[key] for key in ("base", "initializer", "data_hash", "seed", "step")}
    save_embedding(out / EMBEDDING, embedding, about)
    return embedding
