"""What textual inversion and Custom Diffusion share: concepts, captions, network, sheets."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from hw2.data.concepts import (
    Concept,
    concept_pictures,
    one_concept,
    read_concepts,
    refuse_shared_tokens,
    warn_of_files,
    warn_of_prompts,
)
from hw2.errors import ConfigError, in_section
from hw2.events import Saved
from hw2.figures.grid import sheet
from hw2.fixed_noise import FixedNoiseLoss
from hw2.models.text2image import Text2Image
from hw2.models.token_rows import TokenRows
from hw2.personalize.batches import Captioned, ConceptSource
from hw2.personalize.templates import read_templates, templates_for
from hw2.personalize.tokens import add_token, initializer_id
from hw2.progress import progress
from hw2.settings.personalize import ConceptTrainingConfig
from hw2.text2image.autoencoding import encode
from hw2.text2image.denoising import LatentBatch, LatentObjective, fixed_noise_loss
from hw2.text2image.drawing import check_drawing, draw
from hw2.text2image.model import StableDiffusion
from hw2.text2image.prompts import check_prompt
from hw2.training import Training

EVALUATED = 64  # samples of the fixed-noise loss at a checkpoint


@dataclass(frozen=True)
class Learnt:
    """A concept that is to be learnt: its pictures, its token, and the word that it starts as."""

    concept: Concept
    pictures: UInt8[Tensor, "n 3 h w"]
    token: str
    initializer: str
    templates: tuple[str, ...]

    @property
    def captions(self) -> list[str]:
        """The templates around the token."""
        return [template.format(self.token) for template in self.templates]


class Asked(NamedTuple):
    """A concept of input.json as the settings ask for it; None: as input.json says."""

    source: str
    token: str | None
    initializer: str | None
    templates: str


def read_learnt(
    config: ConceptTrainingConfig, asked: Iterable[Asked], image_size: int
) -> list[Learnt]:
    """The concepts of `config.input` that are `asked` for.

    Raises ConfigError for one that neither gives a word to start from, for two of one token, and
    DataError for files.
    """
    concepts = read_concepts(config.input)
    found = []
    for source, token, initializer, templates in asked:
        concept = one_concept(concepts, source)
        word = initializer or concept.initializer_token
        if word is None:
            raise ConfigError(
                f"source {source}: {config.input} names no initializer_token: add it there or give "
                "it as a setting: the word whose row the new token starts as, such as the "
                "object's kind"
            )
        found.append(
            Learnt(
                concept,
                concept_pictures(concept, image_size),
                token or concept.token_name,
                word,
                read_templates(templates_for(templates, concept.kind)),
            )
        )
    named = {
        of.concept.source: dataclasses.replace(of.concept, token_name=of.token) for of in found
    }
    refuse_shared_tokens(named, "other --token_names")
    return found


def add_tokens(model: StableDiffusion, learnt: Sequence[Learnt]) -> None:
    """Give the model a new row for each concept, a copy of its initialiser's.

    Raises ConfigError for a token that is there already, an initialiser of several tokens, and a
    caption that is too long.
    """
    ids = [initializer_id(model.tokenizer, of.initializer) for of in learnt]
    for of in learnt:
        add_token(model.tokenizer, of.token)
    for of in learnt:
        for caption in of.captions:
            check_prompt(model.tokenizer, caption)
    table = model.token_table
    rows = table.weight[ids].detach().clone()
    model.text_encoder.set_input_embeddings(TokenRows(table, rows))


def views(
    model: StableDiffusion,
    pictures: UInt8[Tensor, "n 3 h w"],
    flip: bool,
    device: torch.device | None,
) -> Float[Tensor, "n views c k l"]:
    """Scaled latents of pictures as they are, and mirrored, on the processor.

    They are encoded on `device` (None: where the autoencoder is), where the autoencoder stays.
    """
    vae = model.vae.to(device)
    sides = [pictures, pictures.flip(-1)] if flip else [pictures]
    with progress(len(sides) * len(pictures), "encoding", "pictures", within=True) as bar:
        latents = [encode(vae, side, bar.advance).cpu() for side in sides]
    return torch.stack(latents, 1) * model.scaling_factor


def latent_objective(model: StableDiffusion) -> LatentObjective:
    """The error that the model was trained with, all timesteps alike."""
    return LatentObjective(model.schedule, model.prediction_type)


def fixed_loss(model: StableDiffusion, concepts: Sequence[Captioned], seed: int) -> FixedNoiseLoss:
    """The concepts' own pictures and captions in turn, at timesteps and noises that stay."""
    turns = range(max(1, EVALUATED // len(concepts)))
    latents = [of.latents[turn % len(of.latents), 0] for of in concepts for turn in turns]
    tokens = [of.tokens[turn % len(of.tokens)] for of in concepts for turn in turns]
    batch = LatentBatch(torch.stack(latents), torch.stack(tokens), torch.ones(len(latents)))
    return fixed_noise_loss(latent_objective(model), batch, seed)


def drawn_sheet(
    config: ConceptTrainingConfig, model: StableDiffusion, prompts: Sequence[str], saved: Saved
) -> Image.Image:
    """Pictures of prompts with the new tokens, drawn from the averaged weights."""
    assert isinstance(saved.ema, Text2Image)
    model = dataclasses.replace(model, unet=saved.ema.unet, text_encoder=saved.ema.text_encoder).to(
        next(saved.ema.parameters()).device
    )
    settings, indices = config.sample, range(config.num_shown)
    total = len(prompts) * settings.num_inference_steps
    with progress(total, "drawing the sheet", "steps", within=True) as bar:
        drawn = partial(draw, model, indices=indices, seed=config.seed, advance=bar.advance)
        rows = [drawn([prompt] * len(indices), settings) for prompt in prompts]
    title = f"step {saved.step}, w={settings.guidance_weight:g}"
    return sheet(torch.stack(rows), prompts, title=title)


def concept_training(
    config: ConceptTrainingConfig,
    out: Path,
    model: StableDiffusion,
    learnt: Sequence[Learnt],
    meta: dict[str, Any],
    device: torch.device | None,
    priors: Sequence[Captioned] = (),
    prior_weight: float = 1.0,
) -> Training:
    """The training of new rows for `learnt`, and of whatever else of `model` wants a gradient.

    Pictures are encoded on `device`.
    """
    add_tokens(model, learnt)
    prompts = checked_prompts(config, model, learnt)
    concepts = [
        Captioned(views(model, of.pictures, config.flip, device), model.tokens(of.captions))
        for of in learnt
    ]
    return Training(
        net=Text2Image(model.unet, model.text_encoder),
        objective=latent_objective(model),
        source=ConceptSource(concepts, config.seed, priors, prior_weight),
        config=config.train,
        seed=config.seed,
        out=out,
        meta={**meta, "seed": config.seed},
        evaluate=fixed_loss(model, concepts, config.seed),
        show=partial(drawn_sheet, config, model, prompts),
    )


def tried_inputs(
    config: ConceptTrainingConfig, model: StableDiffusion, learnt: Sequence[Learnt]
) -> dict[str, str]:
    """Hashes of the model and of the captions, with the words that the tokens start as.

    Files and input.json give these too, so that the settings do not tell them. All that could
    refuse tokens, captions or prompts is tried, after which `model` has the tokens.
    """
    text = json.dumps([[of.initializer, of.captions] for of in learnt])
    captions = hashlib.sha256(text.encode()).hexdigest()
    hashes = {"pipeline": model.content_hash, "captions": captions}
    add_tokens(model, learnt)
    checked_prompts(config, model, learnt)
    for of in learnt:
        warn_of_prompts(of.concept)
        warn_of_files(of.concept)
    return hashes


def checked_prompts(
    config: ConceptTrainingConfig, model: StableDiffusion, learnt: Sequence[Learnt]
) -> list[str]:
    """The prompts to show: the settings', or those of input.json with the token in use.

    Raises ConfigError for a token in them that the model does not have, and for impossible settings
    of drawing.
    """
    with in_section("sample"):
        check_drawing(config.sample, model.schedule.num_train_timesteps)
    prompts = list(config.prompts) or [
        prompt.replace(of.concept.token_name, of.token)
        for of in learnt
        for prompt in of.concept.prompts
    ]
    for prompt in prompts:
        check_prompt(model.tokenizer, prompt)
    check_prompt(model.tokenizer, config.sample.negative_prompt, "sample.negative_prompt")
    return prompts
