"""Settings of the grader of learnt concepts."""

from pydantic import Field, model_validator

from hw2.config import JobConfig, Place, ScalingConfig
from hw2.settings.clip import ClipChoice
from hw2.settings.personalize import INPUT
from hw2.settings.values import Positive


class GradeConceptsConfig(ClipChoice, JobConfig):
    """Settings of jobs.grade_concepts."""

    input: Place = Field(INPUT, description="the course's input.json")
    generated: Place = Field(description="folder of jobs.generate_concepts")
    against: Place | None = Field(
        None,
        description="another, drawn with the same seed, to compare with picture by picture, for "
        "instance with --untrained true",
    )
    sources: tuple[str, ...] | None = Field(None, description="concepts to grade; null: all")
    batch_size: Positive = Field(64, description="pictures that the model sees at once")
    scaling: ScalingConfig = Field(
        ScalingConfig(num_workers=0), description="it works in this process; use_gpu says where"
    )

    @model_validator(mode="after")
    def _in_this_process(self) -> "GradeConceptsConfig":
        if self.scaling.num_workers:
            raise ValueError(
                f"scaling.num_workers={self.scaling.num_workers}: grading works in this process; "
                "leave it out"
            )
        return self
