"""Settings of jobs.report."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hw2.config import Config, JobConfig
from hw2.settings.data import Folder
from hw2.settings.values import each_once

Language = Literal["en", "zh-TW"]
TAKEN = ("out", "overwrite", "config", "help", "print_config")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Step(Config):
    """One job of the report; its folder is OUT/NAME.

    In texts, {out} is the folder of the report: `{out}/NAME` is what another step leaves, and this
    one then waits for it.
    """

    job: Name = Field(
        description="as in python -m jobs.JOB",
        json_schema_extra={"want": "a job's name, as sample_digits"},
    )
    config: str | None = Field(None, description="file of settings")
    settings: dict[str, Any] = Field({}, description="dotted keys and their values, over the file")

    @field_validator("settings")
    @classmethod
    def _free(cls, settings: dict[str, Any]) -> dict[str, Any]:
        taken = [key for key in settings if key in TAKEN]
        if taken:
            raise ValueError(f"leave {taken[0]} out of settings: the report gives it")
        return settings


class ReportConfig(JobConfig):
    """Settings of jobs.report."""

    out: Folder = Field(description="folder of the results, a folder in it for each step")
    steps: dict[Name, Step] = Field(
        min_length=1,
        description="jobs by name, in their order; the names that the page knows are in "
        "jobs/configs/report_local.yaml",
    )
    languages: Annotated[tuple[Language, ...], each_once("language")] = Field(
        ("en", "zh-TW"), min_length=1, description="a page each"
    )
    pdf: bool = Field(False, description="print each page to PDF too, by Chromium")
