"""Settings of the graders: of learnt concepts, and of digits and faces that students handed in."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from hw2.config import JobConfig, OwnProcessConfig, Place
from hw2.domains import DOMAINS, Domain
from hw2.settings.clip import ClipChoice
from hw2.settings.data import Folder
from hw2.settings.faces import PASS_MARK
from hw2.settings.personalize import INPUT
from hw2.settings.values import Positive, each_once

NUM_PICTURES = (
    "pictures of a prompt that were asked for (25 in the course): only the first so many count, "
    "and a prompt with fewer does not pass; null: all count"
)


class GradingConfig(JobConfig):
    """The settings of a job that grades in its own process."""

    scaling: OwnProcessConfig = Field(OwnProcessConfig(), description="how it computes")


class ConceptsToGrade(ClipChoice, GradingConfig):
    """What is asked of pictures of concepts."""

    input: Place = Field(INPUT, description="the course's input.json")
    num_pictures: Positive | None = Field(None, description=NUM_PICTURES)
    sources: Annotated[tuple[str, ...], each_once("concept")] | None = Field(
        None, min_length=1, description="concepts to grade; null: all"
    )
    batch_size: Positive = Field(64, description="pictures that the model sees at once")


class GradeConceptsConfig(ConceptsToGrade):
    """Settings of jobs.grade_concepts."""

    generated: Place = Field(description="folder of jobs.generate_concepts, or its URI")
    against: Place | None = Field(
        None,
        description="another, drawn with the same seed, to compare with picture by picture, for "
        "instance with --untrained true",
    )


class JudgeConceptsConfig(ConceptsToGrade):
    """Settings of jobs.judge_concepts."""

    pictures: tuple[Place, ...] = Field(
        min_length=1,
        description="folders, each a student's with 0/0/, 0/1/, .. in it, or one whose sub-folders "
        "are students'",
    )


class GradeFacesConfig(JobConfig):
    """Settings of jobs.grade_faces."""

    pictures: tuple[Place, ...] = Field(
        min_length=1,
        description="folders, each a student's with 00.png, 01.png, .. in it, or one whose "
        "sub-folders are students'",
    )
    gt: Place = Field(Path("hw2_data/face/GT"), description="the given pictures, of these names")
    pass_mark: float = Field(
        PASS_MARK,
        gt=0,
        description="each picture's mean squared error, on 0..255, is to be below it",
    )


class JudgeDigitsConfig(GradingConfig):
    """Settings of jobs.judge_digits."""

    pictures: tuple[Place, ...] = Field(
        min_length=1,
        description="folders, each a student's with mnistm/ and svhn/ in it, or one whose "
        "sub-folders are students'",
    )
    judge: str = Field(
        "asset:judge",
        description="file, folder of a run or checkpoint, run:ID or asset:NAME, or the course's "
        "Classifier.pth",
    )
    num_per_class: Positive | None = Field(
        None,
        description="pictures of each digit and domain that were asked for: the first by name "
        "count, those that are missing as wrong; null: those that are there count",
    )
    domains: Annotated[tuple[Domain, ...], each_once("domain")] = Field(
        DOMAINS, min_length=1, description="what was to be drawn; the mean is of these"
    )
    copies_of: Folder | None = Field(
        None,
        description="a tree such as hw2_data: pictures equal to one of its own are told as copied, "
        "and how many of its val pictures the judge reads right; null: neither is looked at",
    )
