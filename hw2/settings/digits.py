"""Settings of the digit jobs."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hw2.config import Config, JobConfig, Place, ScalingConfig
from hw2.domains import DOMAINS, Domain
from hw2.settings.data import DataConfig
from hw2.settings.training import FineTuningJobConfig, TrainingJobConfig
from hw2.settings.values import (
    ExactPrecision,
    Fraction,
    GuidanceInterval,
    MinSnrGamma,
    Positive,
    SamplerName,
    Weighting,
    each_once,
)

PerClass = Annotated[int, Field(ge=1, le=10**6)]  # more is a slip: it would be drawn for weeks


class DiffusionConfig(Config):
    """The diffusion process and the objective."""

    num_train_timesteps: Positive = Field(1000, description="T, timesteps of the process")
    schedule: Literal["linear", "cosine"] = Field("cosine", description="noise schedule")
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="what the network predicts"
    )
    label_dropout: Fraction = Field(0.1, description="share of the pictures trained without label")
    drop: Literal["joint", "digit", "separate"] = Field(
        "joint",
        description="joint: digit and domain dropped together; digit: the digit alone; separate: "
        "each on its own",
    )
    min_snr_gamma: MinSnrGamma = 5.0
    timesteps: Weighting = "importance"


class NetworkConfig(Config):
    """The digit UNet: diffusers' UNet2DModel over a pixel-unshuffled picture."""

    image_size: Positive = Field(28, description="height and width of a picture")
    patch: Positive = Field(2, description="pixel-unshuffle factor")
    channels: tuple[Positive, ...] = Field(
        (64, 128), min_length=1, description="channels a level, multiples of 32 above 32"
    )
    layers: Positive = Field(1, description="residual layers a block")
    attention: tuple[bool, ...] = Field((False, False), description="attention a level")
    mid_attention: bool = Field(False, description="attention between down and up")
    scale_shift: bool = Field(
        False, description="time and labels scale and shift each layer (ADM), not only shift it"
    )


class SampleSettings(Config):
    """How pictures are drawn."""

    sampler: SamplerName = "ddim"
    num_inference_steps: Positive = Field(25, description="timesteps visited")
    eta: Fraction = Field(0.0, description="DDIM's noise: 0 none, 1 DDPM's posterior variance")
    guidance_weight: float = Field(
        2.0,
        ge=-1,
        description="w in (1+w) cond - w uncond, where guidance acts; 0 conditional, "
        "-1 unconditional",
    )
    guidance_interval: GuidanceInterval = Field(
        (0.4, 0.7),
        description="shares of T between which guidance acts, 1 the pure noise, 0 the picture; "
        "0,1: always, with more network calls",
    )
    clip_x0: bool = Field(True, description="keep predicted pictures in [-1, 1]")
    precision: ExactPrecision = "auto"


class TrainDdpmConfig(FineTuningJobConfig):
    """Settings of jobs.train_ddpm."""

    network: NetworkConfig = NetworkConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    sample: SampleSettings = Field(SampleSettings(), description="how the sheets are drawn")
    num_per_class: PerClass = Field(10, description="pictures of each digit and domain at the end")
    judge: str = Field("asset:judge", description="what scores them; see jobs.sample_digits")


class TrainJudgeConfig(TrainingJobConfig):
    """Settings of jobs.train_judge."""


class SampleDigitsConfig(SampleSettings, JobConfig):
    """Settings of jobs.sample_digits."""

    model: str = Field(
        "asset:digits", description="file, folder of a run or checkpoint, run:ID or asset:NAME"
    )
    averaged: bool = Field(
        True,
        description="draw with the average of the weights; false: with the weights as trained, "
        "which released models have not",
    )
    judge: str | None = Field(
        "asset:judge",
        description="the same, or the course's Classifier.pth; null: draw alone, without scores "
        "and without real pictures",
    )
    data: DataConfig = Field(DataConfig(), description="the real pictures to compare with")
    num_per_class: PerClass = Field(50, description="pictures of each digit and domain")
    domains: Annotated[tuple[Domain, ...], each_once("domain")] = Field(
        DOMAINS, min_length=1, description="what to draw"
    )
    against: Place | None = Field(
        None,
        description="another folder of this job, or of a training, drawn with the same seed: how "
        "far accuracies are apart, in pairs",
    )
    indices_per_chunk: Positive = Field(
        5,
        description="a chunk is this many pictures of each digit, drawn in full also where fewer "
        "are wanted; its size moves the last bits",
    )
    strip_timesteps: (
        Annotated[tuple[Annotated[int, Field(ge=0)], ...], each_once("timestep")] | None
    ) = Field(
        None,
        min_length=1,
        description="timesteps shown in the reverse strip, T the pure noise, 0 the picture; null: "
        "six, evenly spaced",
    )
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _judged_if_compared(self) -> "SampleDigitsConfig":
        if self.against and self.judge is None:
            raise ValueError(f"against={self.against}: wants a judge: leave out judge=null")
        return self

    @property
    def sample(self) -> SampleSettings:
        """The settings of the sampler alone."""
        return self.part(SampleSettings)
