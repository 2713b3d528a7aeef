"""A Stable Diffusion 1.x model in parts, whoever trained it."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from hw2.diffusion.prediction import PredictionType
from hw2.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class StableDiffusion:
    """The four parts of a pipeline, and the process that the denoiser was trained for.

    `scaling_factor` times what the autoencoder encodes are the latents that the denoiser sees.
    """

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    schedule: NoiseSchedule
    prediction_type: PredictionType
    scaling_factor: float
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels and sides of the latents that the denoiser was trained on."""
        side = int(self.unet.config.sample_size)
        return int(self.unet.config.in_channels), side, side

    @property
    def image_size(self) -> int:
        """Side of the pictures."""
        return self.latent_shape[1] * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def text_width(self) -> int:
        """Channels of a token's row."""
        return int(self.text_encoder.config.hidden_size)

    @property
    def token_table(self) -> nn.Embedding:
        """The rows of the tokens that the model was trained with."""
        table: Any = self.text_encoder.get_input_embeddings()
        return table

    @property
    def content_hash(self) -> str:
        """sha256 over all that decides a picture: weights, their meaning, words, the process."""
        parts: tuple[Any, ...] = self.unet, self.text_encoder, self.vae
        about = [
            self.prediction_type,
            self.scaling_factor,
            self.schedule.betas.tolist(),
            self.tokenizer.model_max_length,
            self.tokenizer.get_vocab(),
            *(_meaning(part.config) for part in parts),
        ]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for part in parts:
            for name, value in part.state_dict().items():
                digest.update(f"{name} {tuple(value.shape)}\n".encode())
                digest.update(value.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device) -> "StableDiffusion":
        """The same model on `device`."""
        parts: tuple[nn.Module, ...] = self.unet, self.text_encoder, self.vae
        for part in parts:
            part.to(device)
        return dataclasses.replace(self, device=device)

    def tokens(self, captions: Sequence[str]) -> Int64[Tensor, "n k"]:
        """The captions' tokens with start and end, filled up with ends, cut at the context."""
        return tokens_of(self.tokenizer, captions)

    def features(self, tokens: Int64[Tensor, "n k"]) -> Float[Tensor, "n k width"]:
        """What the denoiser is told of tokens."""
        return self.text_encoder(tokens.to(self.device)).last_hidden_state


def _meaning(config: Any) -> dict[str, Any]:
    """A part's settings without where it lay and what wrote it."""
    found = config.to_dict() if hasattr(config, "to_dict") else config
    unsaid = ("_", "transformers_version", "dtype")
    return {str(k): v for k, v in found.items() if not str(k).startswith(unsaid)}


def tokens_of(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Int64[Tensor, "n k"]:
    """The captions' tokens with start and end, filled up with ends, cut at the context."""
    found = tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    return found.input_ids
