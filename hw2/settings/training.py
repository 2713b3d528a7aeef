"""Settings that every training has."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hw2.config import Config, JobConfig, ScalingConfig
from hw2.settings.data import DataConfig
from hw2.settings.values import Positive, Precision

MAX_BATCH = 2**20  # more is a slip: the memory would end before the refusal
Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(Config):
    """The one training loop."""

    num_steps: Positive = Field(description="optimiser steps")
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = Field(
        128, description="pictures a step, over all workers"
    )
    accumulate: Positive = Field(
        1, description="gradient accumulation: passes a step, each with a part of a worker's share"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        2e-3, description="AdamW's learning rate at its peak"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="AdamW's weight decay")
    betas: tuple[Beta, Beta] = Field((0.9, 0.99), description="AdamW's betas")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        50, description="steps of linear warm-up of the rate"
    )
    decay: Literal["linear", "cosine", "none"] = Field(
        "linear", description="how the rate falls to 0 after the warm-up"
    )
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="bound on the gradient norm")
    ema_width: Annotated[float, Field(gt=0, le=0.28)] = Field(
        0.08, description="EMA profile's width as a share of the training (Karras 2024)"
    )
    precision: Precision = "auto"
    compile: bool = Field(
        False,
        description="torch.compile the network, where one GPU trains without accumulate into CUDA "
        "graphs (needs a C++ compiler)",
    )
    log_every: Positive = Field(1, description="steps between metric rows")
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    keep_last: Positive = Field(
        2, description="newest checkpoints kept, beside that of the least eval/loss"
    )


class LoopJobConfig(JobConfig):
    """The settings of every job that runs the training loop."""

    train: TrainConfig = Field(description="the training loop")
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _enough_for_all(self) -> "LoopJobConfig":
        if (self.scaling.num_workers or 0) > self.train.batch_size:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} is smaller than "
                f"scaling.num_workers={self.scaling.num_workers}: raise it or take fewer workers"
            )
        if self.train.accumulate > self.train.batch_size:
            raise ValueError(
                f"train.accumulate={self.train.accumulate} is more than "
                f"train.batch_size={self.train.batch_size}: a pass needs a picture"
            )
        return self


class TrainingJobConfig(LoopJobConfig):
    """The settings of a training on pictures of the data tree."""

    data: DataConfig = DataConfig()


class FineTuningJobConfig(TrainingJobConfig):
    """The settings of a training that may begin with given weights."""

    init: str | None = Field(
        None,
        description="averaged weights to begin with (fine-tuning), as --model of the job that "
        "draws from them; null: fresh ones by seed",
    )
