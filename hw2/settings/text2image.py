"""Settings of the trainings of a small text-to-image model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hw2.config import Config
from hw2.settings.training import TrainingJobConfig
from hw2.settings.values import (
    Fraction,
    GuidanceInterval,
    MinSnrGamma,
    Positive,
    Precision,
    SamplerName,
    Weighting,
)


class AutoencoderConfig(Config):
    """diffusers' AutoencoderKL; each level but the first halves the picture's sides."""

    channels: tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...] = Field(
        (16, 32, 64), min_length=1, description="channels a level"
    )
    layers: Positive = Field(1, description="residual layers a block")
    latent_channels: Positive = Field(4, description="channels of the latent picture")


class TrainAutoencoderConfig(TrainingJobConfig):
    """Settings of jobs.train_autoencoder."""

    image_size: Positive = Field(64, description="side of the pictures")
    network: AutoencoderConfig = AutoencoderConfig()
    kl_weight: float = Field(1e-6, ge=0, description="of the latents' divergence from N(0, 1)")

    @model_validator(mode="after")
    def _divides(self) -> "TrainAutoencoderConfig":
        factor = 2 ** (len(self.network.channels) - 1)
        if self.image_size % factor:
            raise ValueError(
                f"image_size={self.image_size} is no multiple of {factor}, by which "
                f"{len(self.network.channels)} levels shrink it"
            )
        return self


class TextEncoderConfig(Config):
    """transformers' CLIPTextModel."""

    context_length: int = Field(24, ge=4, le=77, description="tokens with start and end")
    width: Positive = Field(64, description="channels")
    heads: Positive = Field(4, description="attention heads, a divisor of the width")
    layers: Positive = Field(2, description="blocks")
    merges: int = Field(
        4096,
        ge=0,
        le=48_894,
        description="merges of CLIP's byte-pair encoding to keep, beside those of captions' words",
    )


class LatentUNetConfig(Config):
    """diffusers' UNet2DConditionModel; the first level is without attention."""

    channels: tuple[Annotated[int, Field(ge=16, multiple_of=16)], ...] = Field(
        (64, 112), min_length=2, description="channels a level"
    )
    layers: Positive = Field(1, description="residual layers a block")
    heads: Positive = Field(4, description="attention heads, a divisor of all channels")


class DrawSettings(Config):
    """How pictures of prompts are drawn."""

    sampler: SamplerName = "dpmpp"
    num_inference_steps: Positive = Field(20, description="timesteps visited")
    eta: Fraction = Field(0.0, description="DDIM's noise: 0 none, 1 DDPM's posterior variance")
    guidance_weight: float = Field(
        4.0, ge=-1, description="w in (1+w) cond - w uncond; diffusers' guidance_scale is 1 + w"
    )
    guidance_interval: GuidanceInterval = Field(
        (0.0, 1.0),
        description="shares of T between which guidance acts, 1 the pure noise, 0 the picture; "
        "0,1: always",
    )
    negative_prompt: str = Field("", description="what the unconditional branch is told")
    precision: Precision = "auto"


class TrainText2ImageConfig(TrainingJobConfig):
    """Settings of jobs.train_text2image."""

    autoencoder: str = Field(
        "outputs/autoencoder", description="folder of jobs.train_autoencoder, or run:ID"
    )
    text: TextEncoderConfig = TextEncoderConfig()
    network: LatentUNetConfig = LatentUNetConfig()
    num_train_timesteps: Positive = Field(1000, description="T, timesteps of the process")
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="what the network predicts"
    )
    sample: DrawSettings = Field(DrawSettings(), description="how the sheets are drawn")
    caption_dropout: Fraction = Field(0.1, description="share trained with the empty caption")
    min_snr_gamma: MinSnrGamma = None
    timesteps: Weighting = "importance"

    @model_validator(mode="after")
    def _divides(self) -> "TrainText2ImageConfig":
        for part, heads, widths in (
            ("text", self.text.heads, (self.text.width,)),
            ("network", self.network.heads, self.network.channels),
        ):
            if any(width % heads for width in widths):
                raise ValueError(f"{part}.heads={heads} does not divide {widths}")
        return self
