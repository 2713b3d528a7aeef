"""Settings of zero-shot classification."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hw2.config import JobConfig, Place, ScalingConfig
from hw2.settings.clip import ClipChoice
from hw2.settings.values import ExactPrecision, Fraction, Positive

Layout = Literal["auto", "names", "folders", "manifest", "tars", "parquet"]


class ClipZeroShotConfig(ClipChoice, JobConfig):
    """Settings of jobs.clip_zero_shot."""

    images: str = Field(
        "hw2_data/clip_zeroshot/val",
        min_length=1,
        description="folder of {class}_{n}.png, folder of a folder a class, table of paths and "
        "classes (.csv, .parquet), webdataset .tar or Parquet with pictures, or a folder of these; "
        "a local path, s3:// or gs://",
    )
    labels: Place | None = Field(
        None, description="id2label.json; null: the one beside the pictures' folder, if any"
    )
    layout: Layout = Field(
        "auto", description="how classes are told: by file name, folder, table, ..; auto: looks"
    )
    image_column: str | None = Field(None, description="of a table; null: the usual names")
    label_column: str | None = Field(None, description="of a table; null: the usual names")
    templates: str | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "simple",
        description="prompt sets to compare: names (simple, course, cifar, imagenet, imagenet7, "
        'name), files, or a text as "a photo of a {}.", several joined with | for one set; to '
        "compare texts, a list of them",
    )
    clean_names: tuple[bool, ...] = Field(
        (True,),
        description="underscores to spaces, a or an; true,false: each set with and without",
    )
    batch_size: Positive = Field(64, description="pictures that the model sees at once")
    precision: ExactPrecision = "fp32"
    save_embeddings: bool = Field(False, description="write the pictures' embeddings too")
    cache: Place | None = Field(
        None, description="where embeddings are kept for the next prompts; null: beside OUT"
    )
    max_bad_share: Fraction = Field(
        0.01, description="bad pictures are listed; more than this share is an error"
    )
    num_examples: Positive = Field(5, description="hits and misses in the gallery")
    scaling: ScalingConfig = ScalingConfig()

    @field_validator("clean_names")
    @classmethod
    def _once(cls, clean: tuple[bool, ...]) -> tuple[bool, ...]:
        if not clean or len(set(clean)) < len(clean):
            raise ValueError("want true, false or true,false")
        return clean

    @property
    def asked_templates(self) -> tuple[str, ...]:
        """The prompt sets, one entry each: a text without placeholder is a list of names."""
        if not isinstance(self.templates, str):
            return self.templates
        if "{" in self.templates:
            return (self.templates,)
        return tuple(part.strip() for part in self.templates.split(","))
