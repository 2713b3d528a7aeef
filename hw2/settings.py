"""The sections that the jobs' configurations are made of; no heavy imports."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hw2.config import Config, JobConfig, ScalingConfig

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class DataConfig(Config):
    """The pictures to train on."""

    root: Path = Field(Path("hw2_data"), description="the hw2_data tree")
    skip_bad: bool = Field(False, description="leave out bad pictures, listed, instead of stopping")
    cache: Path | None = Field(None, description="where packed splits go; default: in the tree")

    def absolute(self) -> "DataConfig":
        """The same for a worker, which runs in a folder of its own."""
        cache = self.cache and self.cache.expanduser().absolute()
        root = self.root.expanduser().absolute()
        return self.model_copy(update={"root": root, "cache": cache})


class DiffusionConfig(Config):
    """The diffusion process and the objective."""

    num_train_timesteps: Positive = Field(1000, description="T")
    schedule: Literal["linear", "cosine"] = Field("cosine", description="shape of the noise")
    prediction_type: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction", description="what the network predicts"
    )
    label_dropout: Fraction = Field(0.1, description="share trained without label")
    drop: Literal["joint", "digit", "separate"] = Field(
        "joint", description="drop digit and domain together, the digit alone, or each on its own"
    )
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = Field(
        5.0, description="min-SNR loss weight (5 in the paper); null: all timesteps alike"
    )
    timesteps: Literal["uniform", "importance"] = Field(
        "importance", description="weigh evenly drawn timesteps, or draw them by their weight"
    )


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


class TrainConfig(Config):
    """The one training loop."""

    num_steps: Positive = Field(description="optimiser steps")
    batch_size: Positive = Field(128, description="pictures a step, over all workers")
    accumulate: Positive = Field(1, description="passes that a worker's share is cut into")
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="peak of AdamW's rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW's decay")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.99), description="AdamW's moments")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(50, description="linear warm-up")
    decay: Literal["linear", "cosine", "none"] = Field("linear", description="of the rate, to 0")
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="bound on the gradient norm")
    ema_width: Annotated[float, Field(gt=0, le=0.28)] = Field(
        0.08, description="EMA profile's width as a share of the training (Karras 2024)"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the processor multiplies it natively"
    )
    compile: bool = Field(False, description="torch.compile the network (needs a C++ compiler)")
    log_every: Positive = Field(1, description="steps between metric rows")
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    keep_last: Positive = Field(2, description="checkpoints kept beside the best")


class SampleSettings(Config):
    """How pictures are drawn."""

    sampler: Literal["ddpm", "ddim", "dpmpp", "unipc"] = Field(
        "ddim", description="ancestral, deterministic or between (eta), or fast solvers"
    )
    num_inference_steps: Positive = Field(25, description="timesteps visited")
    eta: Fraction = Field(0.0, description="DDIM's noise: 0 none, 1 DDPM's variance")
    guidance_weight: float = Field(
        2.0, ge=-1, description="w in (1+w) cond - w uncond; 0 conditional, -1 unconditional"
    )
    guidance_interval: tuple[Fraction, Fraction] = Field(
        (0.65, 1.0),
        description="shares of T between which guidance acts; 0,1: always, with less diversity",
    )
    clip_x0: bool = Field(True, description="keep predicted pictures in [-1, 1]")

    @field_validator("guidance_interval")
    @classmethod
    def _rises(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if interval[0] > interval[1]:
            raise ValueError("want the lower share first")
        return interval


class TrainingJobConfig(JobConfig):
    """The settings that every training has."""

    data: DataConfig = DataConfig()
    train: TrainConfig = Field(description="the training loop")
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _enough_for_all(self) -> "TrainingJobConfig":
        if (self.scaling.num_workers or 0) > self.train.batch_size:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} is smaller than "
                f"scaling.num_workers={self.scaling.num_workers}: raise it or take fewer workers"
            )
        return self


class TrainDdpmConfig(TrainingJobConfig):
    """Settings of jobs.train_ddpm."""

    network: NetworkConfig = NetworkConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    sample: SampleSettings = Field(SampleSettings(), description="how the sheets are drawn")
    num_per_class: Positive = Field(10, description="pictures of each digit and domain at the end")
    judge: str = Field("asset:judge", description="what scores them; see jobs.sample_digits")


class TrainJudgeConfig(TrainingJobConfig):
    """Settings of jobs.train_judge."""


class SampleDigitsConfig(SampleSettings, JobConfig):
    """Settings of jobs.sample_digits."""

    model: str = Field("asset:digits", description="file, run folder, run:ID or asset:NAME")
    judge: str = Field("asset:judge", description="the same, or the course's Classifier.pth")
    data: DataConfig = Field(DataConfig(), description="the real pictures to compare with")
    num_per_class: Positive = Field(50, description="pictures of each digit and domain")
    domains: tuple[Literal["mnistm", "svhn"], ...] = Field(
        ("mnistm", "svhn"), min_length=1, description="what to draw"
    )

    @field_validator("domains")
    @classmethod
    def _once(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(domains)) < len(domains):
            raise ValueError("want each domain once")
        return domains

    indices_per_chunk: Positive = Field(
        5, description="a chunk is this many pictures of each digit; its size moves the last bits"
    )
    strip_timesteps: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, description="timesteps shown in the reverse strip; null: six, evenly spaced"
    )
    scaling: ScalingConfig = ScalingConfig()

    @property
    def sample(self) -> SampleSettings:
        """The settings of the sampler alone."""
        return SampleSettings(**{key: getattr(self, key) for key in SampleSettings.model_fields})


class PrepareDataConfig(Config):
    """Settings of jobs.prepare_data."""

    out: Path = Field(Path("hw2_data"), description="the tree to build")
    seed: int = Field(0, ge=0, lt=2**63, description="decides every byte of the offline tree")
    source: Literal["offline", "torchvision"] = Field(
        "offline", description="made from installed packages, or the real MNIST and SVHN"
    )
    num_train: int = Field(20_000, ge=10, description="train pictures a domain (at most)")
    num_val: int = Field(2_000, ge=10, description="val pictures a domain (at most)")
    cache: Path | None = Field(None, description="where torchvision's downloads are kept")


class ReleaseAssetConfig(Config):
    """Settings of jobs.release_asset."""

    model: Path = Field(description="folder of a finished training")
    name: str = Field(pattern="^[a-z0-9_]+$", description="the asset's name")
    command: str = Field("make assets", description="what makes it again, for the card")
