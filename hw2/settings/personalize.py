"""Settings of personalization: new concepts for a text-to-image model."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from hw2.config import Config, JobConfig, Place, ScalingConfig
from hw2.personalize.templates import template_names
from hw2.settings.text2image import DrawSettings
from hw2.settings.training import LoopJobConfig, TrainConfig
from hw2.settings.values import Positive, absolute, each_once

MODEL = (
    "hub id, folder that diffusers loads, .ckpt or .safetensors of a Stable Diffusion 1.x, "
    "folder of jobs.train_text2image, URI of one of these, or asset:NAME"
)
TEMPLATES = (
    "captions: auto (object or style, as input.json says), plain (the same in words that "
    "asset:text2image knows), one of object, style, plain_object, plain_style, or a text file with "
    "a {} a line"
)
C = TypeVar("C", bound="ConceptTrainingConfig")
INPUT = Path("hw2_data/textual_inversion/input.json")


class ConceptTrainingConfig(LoopJobConfig):
    """What textual inversion and Custom Diffusion share."""

    model: str = Field("asset:text2image", description=MODEL)
    input: Place = Field(INPUT, description="the course's input.json")
    flip: bool = Field(True, description="show every other picture mirrored, at random")
    prompts: tuple[str, ...] = Field(
        (), description="prompts drawn at checkpoints; empty: the concept's in input.json"
    )
    num_shown: Positive = Field(4, description="pictures drawn of each of these prompts")
    sample: DrawSettings = Field(DrawSettings(), description="how they are drawn")

    def absolute(self: C) -> C:
        """The same for a worker, which runs in a folder of its own."""
        return super().absolute().model_copy(update={"model": absolute(self.model)})


def _absolute_set(templates: str) -> str:
    """The same set for a worker: a set's name as it is, or a file's path."""
    known = templates in ("auto", "plain", *template_names())
    return templates if known else absolute(templates)


class TextualInversionConfig(ConceptTrainingConfig):
    """Settings of jobs.textual_inversion."""

    source: str = Field("0", description="which concept of input.json")
    token_name: str | None = Field(None, description="the new token; null: input.json's")
    initializer_token: str | None = Field(
        None, description="one-token word whose row the new one starts as; null: input.json's"
    )
    templates: str = Field("auto", description=TEMPLATES)
    train: TrainConfig = Field(
        TrainConfig(
            num_steps=3000,
            batch_size=4,
            learning_rate=2e-3,
            weight_decay=0.0,
            decay="none",
            warmup_steps=0,
            checkpoint_every=500,
        ),
        description="the training loop, by default for Stable Diffusion; for asset:text2image "
        "jobs/configs/textual_inversion.yaml",
    )

    def absolute(self) -> "TextualInversionConfig":
        """The same for a worker, which runs in a folder of its own."""
        changes = {"templates": _absolute_set(self.templates)}
        return super().absolute().model_copy(update=changes)


class PriorConfig(Config):
    """Prior preservation (Ruiz et al. 2023, section 3.3): pictures of the concept's class."""

    weight: float = Field(
        1.0, ge=0, description="weight of their loss beside the concept's; 0: without"
    )
    num_pictures: Positive = Field(
        100,
        description="pictures drawn by the base model for each concept, of its initializer's word",
    )
    pictures_per_chunk: Positive = Field(
        25,
        description="pictures drawn at once; lower it if memory is short; it moves the last bits",
    )
    folder: Place | None = Field(
        None,
        description="pictures to take instead: folder with train/ and train.csv "
        "(image_name,caption), as hw2_data/text2image; their middle squares are taken",
    )


class CustomDiffusionConfig(ConceptTrainingConfig):
    """Settings of jobs.custom_diffusion."""

    sources: Annotated[tuple[str, ...], each_once("concept")] = Field(
        ("0",), min_length=1, description="concepts of input.json; several are trained jointly"
    )
    token_names: Annotated[tuple[str, ...], each_once("token")] = Field(
        (), description="their tokens; empty: input.json's"
    )
    initializer_tokens: tuple[str, ...] = Field(
        (), description="words whose rows these start as; empty: input.json's"
    )
    templates: tuple[str, ...] = Field(
        ("auto",), min_length=1, description=f"{TEMPLATES}; of all concepts, or one each"
    )
    prior: PriorConfig = PriorConfig()
    detach_start_token: bool = Field(
        True,
        description="let no gradient through the keys and values of the start token, as the "
        "authors and diffusers",
    )
    rank: Positive | None = Field(
        None, description="singular values kept of each weight's change; null: all, as diffusers"
    )
    train: TrainConfig = Field(
        TrainConfig(
            num_steps=250,
            batch_size=8,
            learning_rate=8e-5,  # the authors' 1e-5 a picture of the batch
            weight_decay=0.01,
            decay="none",
            warmup_steps=0,
            checkpoint_every=100,
        ),
        description="the training loop, by default for Stable Diffusion; for asset:text2image "
        "jobs/configs/custom_diffusion.yaml",
    )

    def absolute(self) -> "CustomDiffusionConfig":
        """The same for a worker, which runs in a folder of its own."""
        changes = {"templates": tuple(map(_absolute_set, self.templates))}
        return super().absolute().model_copy(update=changes)

    @model_validator(mode="after")
    def _one_each(self) -> "CustomDiffusionConfig":
        for key, other in (("token_names", 0), ("initializer_tokens", 0), ("templates", 1)):
            count = len(getattr(self, key))
            if count not in (other, len(self.sources)):
                raise ValueError(
                    f"{key} has {count} entries for {len(self.sources)} sources: want one each"
                )
        return self


class MergeConceptsConfig(JobConfig):
    """Settings of jobs.merge_concepts."""

    model: str = Field("asset:text2image", description=MODEL)
    concepts: Annotated[tuple[Place, ...], each_once("folder")] = Field(
        min_length=1,
        description="folders of jobs.custom_diffusion of the same model, their URIs, or run:ID",
    )
    captions: Place = Field(
        Path("hw2_data/text2image/train.csv"),
        description="captions that must mean what they meant: a text a line, or a CSV with a "
        "column caption",
    )
    num_captions: Positive = Field(200, description="captions taken, evenly spread over the file")
    num_targets: Positive = Field(
        3, description="of each concept's training captions, which must mean what it learnt"
    )


class GenerateConceptsConfig(DrawSettings, JobConfig):
    """Settings of jobs.generate_concepts."""

    model: str = Field("asset:text2image", description=MODEL)
    input: Place = Field(INPUT, description="the course's input.json")
    sources: Annotated[tuple[str, ...], each_once("concept")] | None = Field(
        None, min_length=1, description="concepts of input.json; null: all"
    )
    separate: tuple[str, ...] = Field(
        (),
        description="folders of jobs.textual_inversion, or embedding files, or their URIs, or "
        "run:ID, a concept each; TOKEN=FILE for one that does not name its token; of one vector a "
        "token",
    )
    joint: Place | None = Field(
        None,
        description="folder of jobs.custom_diffusion on several, its URI, or run:ID; or what "
        "others trained: folder of diffusers' Custom Diffusion, or the authors' delta.bin",
    )
    merged: Place | None = Field(
        None, description="folder of jobs.merge_concepts, its URI, or run:ID"
    )
    untrained: bool = Field(
        False, description="draw with the tokens' initial rows instead, to compare with"
    )
    num_pictures: Positive = Field(25, description="pictures of each prompt")
    together: Annotated[tuple[str, ...], each_once("prompt")] = Field(
        (), description="prompts with several concepts, drawn in every way that is given"
    )
    pictures_per_chunk: Positive = Field(
        25, description="pictures that the network draws at once; its size moves the last bits"
    )
    scaling: ScalingConfig = ScalingConfig()

    @property
    def sample(self) -> DrawSettings:
        """The settings of the sampler alone."""
        return self.part(DrawSettings)
