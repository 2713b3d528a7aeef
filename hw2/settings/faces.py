"""Settings of the face jobs."""

from typing import Annotated, Literal

from pydantic import Field

from hw2.config import Config
from hw2.settings.training import TrainingJobConfig
from hw2.settings.values import Positive


class FaceNetworkConfig(Config):
    """The course's face network, of any width."""

    channels: tuple[Positive, ...] = Field(
        (64, 64, 64, 64, 64, 64),
        description="channels of the six levels, multiples of 32; 128,128,256,256,512,512 as given",
    )


class FaceObjectiveConfig(Config):
    """The objective; the process is the course's: T=1000, linear betas, eps predicted."""

    min_snr_gamma: Annotated[float, Field(gt=0)] | None = Field(
        5.0, description="min-SNR loss weight (5 in the paper); null: all timesteps alike"
    )
    timesteps: Literal["uniform", "importance"] = Field(
        "importance", description="weigh evenly drawn timesteps, or draw them by their weight"
    )


class TrainFacesConfig(TrainingJobConfig):
    """Settings of jobs.train_faces."""

    network: FaceNetworkConfig = FaceNetworkConfig()
    objective: FaceObjectiveConfig = FaceObjectiveConfig()
    image_size: int = Field(32, ge=32, multiple_of=32, description="side that pictures get")
    num_inference_steps: Positive = Field(50, description="DDIM steps of the sheets")
