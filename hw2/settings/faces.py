"""Settings of the face jobs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hw2.config import Config, JobConfig, Place, ScalingConfig
from hw2.settings.training import FineTuningJobConfig
from hw2.settings.values import (
    ExactPrecision,
    Fraction,
    MinSnrGamma,
    Positive,
    Weighting,
    each_once,
)

PASS_MARK = 20.0  # the course's, of the mean squared error on 0..255
PixelRange = Literal["fixed", "minmax"]


class FaceNetworkConfig(Config):
    """The course's face network, of any width."""

    # With one channel a group the normalisation takes out all that time adds: hence 64 at least.
    channels: tuple[Annotated[int, Field(ge=64, multiple_of=32)], ...] = Field(
        (64, 64, 64, 64, 64, 64),
        min_length=6,
        max_length=6,
        description="channels of the six levels; the course's are 128,128,256,256,512,512",
    )


class FaceObjectiveConfig(Config):
    """The objective; the process is the course's: T=1000, linear betas, eps predicted."""

    min_snr_gamma: MinSnrGamma = 5.0
    snr_floor: float = Field(
        0.05, ge=0, description="least weight of the predicted picture's error, at the noisiest t"
    )
    timesteps: Weighting = "uniform"


class TrainFacesConfig(FineTuningJobConfig):
    """Settings of jobs.train_faces."""

    network: FaceNetworkConfig = FaceNetworkConfig()
    objective: FaceObjectiveConfig = FaceObjectiveConfig()
    image_size: int = Field(32, ge=32, multiple_of=32, description="side of the pictures")
    num_inference_steps: Positive = Field(50, description="DDIM steps of the sheets")


class FaceSampling(Config):
    """How faces are drawn, in diffusers' words; the defaults are the course's choices."""

    num_inference_steps: Positive = Field(50, description="timesteps visited")
    timestep_spacing: Literal["leading", "linspace", "trailing"] = Field(
        "leading", description="which timesteps: leading is 981, 961, .. for 50 of 1000"
    )
    steps_offset: int = Field(1, ge=0, description="added to each timestep of leading alone")
    set_alpha_to_one: bool = Field(
        False, description="end at alphas_cumprod 1; false: at alphas_cumprod[0]"
    )
    clip_x0: bool = Field(True, description="keep predicted pictures in [-1, 1]")
    use_clipped_model_output: bool = Field(
        False, description="take the direction from the clipped picture; false: as predicted"
    )


class EtaSettings(FaceSampling):
    """The same, with DDIM's noise."""

    eta: Fraction = Field(0.0, description="DDIM's noise: 0 none, 1 DDPM's posterior variance")


class FaceJobConfig(FaceSampling, JobConfig):
    """Settings that the jobs on faces share."""

    model: str = Field(
        "hw2_data/face/UNet.pt",
        description="the course's UNet.pt, a diffusers folder, a .safetensors file, a folder of "
        "a run or checkpoint, run:ID or asset:faces",
    )
    noise: Place = Field(Path("hw2_data/face/noise"), description="folder of 00.pt, 01.pt, ..")
    pixel_range: PixelRange = Field(
        "fixed", description="[-1, 1] to 0..255 for all alike, or each picture's own range"
    )
    precision: ExactPrecision = "fp32"
    noises_per_chunk: Positive = Field(
        5, description="noises drawn at once; their number moves the last bits"
    )
    scaling: ScalingConfig = ScalingConfig()


class SampleFacesConfig(EtaSettings, FaceJobConfig):
    """Settings of jobs.sample_faces."""

    gt: Place | None = Field(
        None, description="pictures to compare with; null: the folder GT beside the noises, if any"
    )


class EtaSheetConfig(FaceJobConfig):
    """Settings of jobs.eta_sheet."""

    etas: Annotated[tuple[Fraction, ...], each_once("eta")] = Field(
        (0, 0.25, 0.5, 0.75, 1), min_length=1, description="columns"
    )
    noises: Annotated[tuple[str, ...], each_once("noise")] = Field(
        ("00", "01", "02", "03"), min_length=1, description="rows: names of noises"
    )

    @field_validator("etas")
    @classmethod
    def _told_apart(cls, etas: tuple[float, ...]) -> tuple[float, ...]:
        """Tables and figures have six digits of an eta."""
        told = [f"{eta:g}" for eta in etas]
        if again := [eta for eta, text in zip(etas, told, strict=True) if told.count(text) > 1]:
            raise ValueError(f"{again[0]} and {again[1]} are the same in six digits")
        return etas


class InterpolateFacesConfig(EtaSettings, FaceJobConfig):
    """Settings of jobs.interpolate_faces."""

    first: str = Field("00", description="name of the noise at alpha 0")
    second: str = Field("01", description="name of the noise at alpha 1")
    num_alphas: int = Field(
        11, ge=3, description="columns, alpha evenly from 0 to 1; an odd number, for the middle"
    )

    @field_validator("num_alphas")
    @classmethod
    def _odd(cls, num_alphas: int) -> int:
        if num_alphas % 2 == 0:
            raise ValueError("want an odd number, so that a column is half-way")
        return num_alphas
