"""Settings of the sweeps; their YAML files are in tune_configs/."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hw2.config import Config, JobConfig, Place, ScalingConfig
from hw2.settings.data import DataConfig
from hw2.settings.digits import SampleSettings
from hw2.settings.faces import EtaSettings
from hw2.settings.values import Positive, Precision

Mode = Literal["max", "min"]
Rule = Literal["best", "cheapest_within_interval"]
RANGES = ("uniform", "loguniform", "randint")
Value = int | float | bool | str | tuple[float, ...]
Values = Annotated[
    tuple[Value, ...],
    Field(
        min_length=1,
        json_schema_extra={
            "want": "a list of at least one value (number, text, true, false, list of numbers)"
        },
    ),
]


class Dimension(Config):
    """The values that one setting takes; give one of the keys."""

    grid: Values | None = None
    choice: Values | None = None
    uniform: tuple[float, float] | None = None
    loguniform: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    randint: tuple[int, int] | None = Field(
        None, description="whole numbers from the first to below the second, as tune.randint"
    )

    @model_validator(mode="after")
    def _one(self) -> "Dimension":
        kind, value = self.kind_and_value
        if kind in RANGES and not value[0] < value[1]:
            raise ValueError(f"{kind}: want the lower end first, not {list(value)}")
        return self

    @property
    def kind_and_value(self) -> tuple[str, tuple[Any, ...]]:
        """Which key was given, and its value."""
        given = [(k, v) for k, v in vars(self).items() if v is not None]
        if len(given) != 1:
            raise ValueError(f"want one of grid, choice, {', '.join(RANGES)} for each setting")
        return given[0]

    @property
    def outermost(self) -> tuple[Any, ...]:
        """The values that are listed, or the least and the greatest of a range."""
        kind, value = self.kind_and_value
        return (value[0], value[1] - 1) if kind == "randint" else value


class SearchConfig(Config):
    """How the space is searched."""

    method: Literal["grid", "random", "optuna"] = Field(
        "grid",
        description="grid: every combination; random: drawn at random; optuna: chosen by Optuna",
    )
    num_trials: Positive = Field(
        20,
        description="random: draws for each combination of the grids; optuna: trials in all, with "
        "those begun before, all of which stay",
    )


class SchedulerConfig(Config):
    """Which trials are let go on."""

    method: Literal["fifo", "asha"] = Field(
        "fifo", description="fifo: each runs to its end; asha: only the best go on to more samples"
    )
    grace: Positive = Field(10, description="asha: samples before the first comparison")
    reduction_factor: int = Field(
        2, ge=2, description="asha: one in so many goes on, with so many times the samples"
    )


class SweepConfig(JobConfig):
    """Settings that every sweep has."""

    space: dict[str, Dimension] = Field(
        min_length=1,
        description="the settings that vary: of each its grid or choice [..], or its uniform, "
        "loguniform or randint [low, high], which draws whole numbers below high",
    )
    search: SearchConfig = SearchConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    samples: Positive = Field(50, description="starting noises a trial, the same for all trials")
    metric: str = Field(description="what decides")
    mode: Mode = Field("max", description="which way it is better")
    rule: Rule = Field(
        "best",
        description="best: the best value; cheapest_within_interval: fewest network calls among "
        "those within its interval",
    )
    baseline: dict[str, Value] = Field(
        default={},
        description="setting that the others are compared with in pairs, one of the points; keys "
        "that it does not name stay those of each trial",
    )
    gpus_per_trial: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="share of a GPU a trial; null: a whole one, if there are any"
    )
    max_failures: int = Field(3, ge=0, description="times that a trial's process may die")
    scaling: ScalingConfig = Field(
        ScalingConfig(), description="num_workers: trials at once; 0: one by one, without Ray"
    )

    @model_validator(mode="after")
    def _fits(self) -> "SweepConfig":
        kinds = {key: dimension.kind_and_value[0] for key, dimension in self.space.items()}
        method = self.search.method
        for key, kind in kinds.items():
            if method == "grid" and kind != "grid":
                raise ValueError(f"space.{key} is {kind}: use grid, or search.method random")
            if method == "optuna" and kind == "grid":
                raise ValueError(f"space.{key} is grid: Optuna takes choice, {', '.join(RANGES)}")
        if self.scaling.num_workers == 0 and (
            method == "optuna" or self.scheduler.method == "asha"
        ):
            raise ValueError("Optuna and ASHA need Ray: set scaling.num_workers to 1 or more")
        if self.scaling.num_workers == 0 and self.gpus_per_trial is not None:
            raise ValueError("gpus_per_trial needs Ray: set scaling.num_workers to 1 or more")
        if self.gpus_per_trial is not None and self.scaling.use_gpu is False:
            raise ValueError(
                f"gpus_per_trial={self.gpus_per_trial:g} beside scaling.use_gpu=false: leave one "
                "of them out"
            )
        if self.scheduler.method == "asha" and self.scheduler.grace > self.samples:
            raise ValueError(
                f"scheduler.grace={self.scheduler.grace} is more than samples={self.samples}"
            )
        return self

    @property
    def rungs(self) -> list[int]:
        """Numbers of samples after which a trial is scored: grace, times the factor, .., all."""
        rungs, rung = [], self.scheduler.grace
        while self.scheduler.method == "asha" and rung < self.samples:
            rungs.append(rung)
            rung *= self.scheduler.reduction_factor
        return [*rungs, self.samples]

    @property
    def session(self) -> ScalingConfig:
        """What Ray must have before the sweep begins: trials that share a GPU need one of it."""
        if self.gpus_per_trial is None or not self.scaling.num_workers:
            return self.scaling
        return self.scaling.model_copy(update={"num_workers": 1})


class TuneGuidanceConfig(SampleSettings, SweepConfig):
    """Settings of jobs.tune_guidance."""

    model: str = Field(
        "asset:digits", description="file, folder of a run or checkpoint, run:ID or asset:NAME"
    )
    judge: str = Field("asset:judge", description="the same, or the course's Classifier.pth")
    data: DataConfig = Field(DataConfig(), description="the real pictures to compare with")
    metric: str = Field("accuracy", description="what decides: accuracy, diversity, ..")


class TuneEtaConfig(EtaSettings, SweepConfig):
    """Settings of jobs.tune_eta."""

    model: str = Field("asset:faces", description="as in jobs.sample_faces")
    precision: Precision = "auto"
    noise: Place | None = Field(
        Path("hw2_data/face/noise"), description="given noises, drawn first; null: none"
    )
    gt: Place | None = Field(
        None, description="pictures of the given noises; null: the folder GT beside them, if any"
    )
    real: Place | None = Field(
        Path("hw2_data/face/real"), description="real faces for the Frechet distance; null: none"
    )
    image_size: int = Field(
        32, ge=32, multiple_of=32, description="side of the pictures where no noise is given"
    )
    metric: str = Field("frechet", description="what decides: frechet, distance, mse, ..")
    mode: Mode = Field("min", description="which way it is better")
