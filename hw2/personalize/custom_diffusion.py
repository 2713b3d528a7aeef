"""Custom Diffusion: the cross-attention's keys and values and the new rows learn concepts."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hw2.data.captions import read_captions
from hw2.personalize.batches import Captioned
from hw2.personalize.concept_training import (
    Asked,
    Learnt,
    concept_training,
    read_learnt,
    tried_inputs,
    views,
)
from hw2.personalize.deltas import Deltas, base_hash, cross_attention_weights, save_deltas
from hw2.personalize.inversion import learnt_rows
from hw2.personalize.prior import prior_captions, prior_folder
from hw2.settings.personalize import CustomDiffusionConfig
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.model import StableDiffusion
from hw2.training import Training
from hw2.weights import read_meta, read_part


def read_all(config: CustomDiffusionConfig, model: StableDiffusion) -> list[Learnt]:
    """The concepts to learn. Raises as `read_learnt` does."""
    count, nothing = len(config.sources), [None] * len(config.sources)
    templates = config.templates if len(config.templates) > 1 else config.templates * count
    tokens, initializers = config.token_names or nothing, config.initializer_tokens or nothing
    asked = zip(config.sources, tokens, initializers, templates, strict=True)
    return read_learnt(config, map(Asked._make, asked), model.image_size)


def prior_latents(
    config: CustomDiffusionConfig,
    model: StableDiffusion,
    out: Path,
    device: torch.device | None = None,
) -> list[Captioned]:
    """The pictures of prior preservation, each with its own caption."""
    folder = prior_folder(config, out)
    if folder is None:
        return []
    pictures = read_captions(folder, model.image_size, as_concepts=True)
    latents = views(model, pictures.images, config.flip, device)
    return [Captioned(latents, model.tokens(pictures.captions), own=True)]


def custom_diffusion_training(
    config: CustomDiffusionConfig,
    out: Path,
    device: torch.device | None = None,
    *,
    with_priors: bool = True,
) -> Training:
    """The training of Kumari et al. 2023, on one concept (section 3.1) or several jointly (3.2).

    Pictures are encoded on `device`; those of the classes are left out where nothing is trained.
    """
    model = load_stable_diffusion(config.model)
    base = base_hash(model.unet, model.text_encoder)
    learnt = read_all(config, model)
    priors = prior_latents(config, model, out, device) if with_priors else []
    for moving in cross_attention_weights(model.unet).values():
        moving.requires_grad_(True)
    if config.detach_start_token:
        detach_start_token(model.unet)
    meta = {
        "kind": "custom_diffusion",
        "base": base,
        "tokens": [of.token for of in learnt],
        "initializers": [of.initializer for of in learnt],
        "captions": [list(of.captions) for of in learnt],
        "data_hash": [of.concept.content_hash for of in learnt],
    }
    return concept_training(config, out, model, learnt, meta, device, priors, config.prior.weight)


def detach_start_token(unet: nn.Module) -> None:
    """Stop the gradient at the keys and values of each text's first token; they stay what they are.

    As the authors' training does, and diffusers': what all captions begin with is not to learn.
    """

    def detached(_: nn.Module, __: object, projected: Tensor) -> Tensor:  # (n, tokens, channels)
        return torch.cat([projected[:, :1].detach(), projected[:, 1:]], 1)

    for name in cross_attention_weights(unet):
        unet.get_submodule(name.removesuffix(".weight")).register_forward_hook(detached)


def custom_inputs(config: CustomDiffusionConfig) -> tuple[dict[str, str], list[str]]:
    """Hashes of what the training starts from, and the captions of the pictures to be drawn for it.

    All that could refuse the training is tried.
    """
    model = load_stable_diffusion(config.model)
    learnt = read_all(config, model)
    hashes = {f"concept.{of.concept.source}": of.concept.content_hash for of in learnt}
    captions: list[str] = []
    if config.prior.folder is not None:
        given = read_captions(config.prior.folder, model.image_size, as_concepts=True)
        hashes["prior"] = given.content_hash
    elif config.prior.weight > 0:
        captions = prior_captions(config, learnt)
    return hashes | tried_inputs(config, model, learnt), captions


def trained_deltas(weights: Path) -> Deltas:
    """What a finished training has learnt, averaged."""
    meta = read_meta(weights)
    rows = dict(zip(meta["tokens"], learnt_rows(weights), strict=True))
    about = {key: meta[key] for key in ("captions", "initializers", "data_hash", "seed", "step")}
    return Deltas(meta["base"], read_part(weights, "ema.unet."), rows, about)


def write_deltas(config: CustomDiffusionConfig, weights: Path, out: Path) -> float:
    """Save what a finished training has learnt in OUT; returns the share of energy kept."""
    deltas = trained_deltas(weights)
    base: Mapping[str, Tensor] = deltas.weights  # whole matrices are saved without the base's
    if config.rank is not None:
        base = cross_attention_weights(load_stable_diffusion(config.model).unet)
    return save_deltas(out, deltas, base, config.rank)
