"""Settings of CLIP: of the one to use, of the training of a small one."""

from typing import Any

from pydantic import Field, model_validator

from hw2.config import Config
from hw2.settings.training import TrainingJobConfig
from hw2.settings.values import Positive

VOCABULARY = 49_408  # of CLIP's own tokenizer


class VisionConfig(Config):
    """The picture tower: a vision transformer."""

    image_size: Positive = Field(32, description="side of the pictures")
    patch_size: Positive = Field(4, description="side of a patch")
    width: Positive = Field(128, description="channels")
    head_width: Positive = Field(64, description="channels a head, a divisor of the width")
    layers: Positive = Field(3, description="blocks")


class TextConfig(Config):
    """The caption tower; its token table is most of a small network."""

    context_length: int = Field(16, ge=3, description="tokens of a caption with start and end")
    width: Positive = Field(32, description="channels")
    heads: Positive = Field(2, description="attention heads, a divisor of the width")
    layers: Positive = Field(2, description="blocks")


class ClipNetworkConfig(Config):
    """A small CLIP in open_clip's words."""

    embed_dim: Positive = Field(64, description="of the common space")
    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()

    @model_validator(mode="after")
    def _divides(self) -> "ClipNetworkConfig":
        vision, text = self.vision, self.text
        for part, whole, given in (
            ("vision.patch_size", "vision.image_size", (vision.patch_size, vision.image_size)),
            ("vision.head_width", "vision.width", (vision.head_width, vision.width)),
            ("text.heads", "text.width", (text.heads, text.width)),
        ):
            if given[1] % given[0]:
                raise ValueError(f"{part}={given[0]} does not divide {whole}={given[1]}")
        return self

    def model_cfg(self) -> dict[str, Any]:
        """The network as open_clip's JSON files write it."""
        return {
            "embed_dim": self.embed_dim,
            "vision_cfg": self.vision.model_dump(),
            "text_cfg": self.text.model_dump() | {"vocab_size": VOCABULARY},
        }


class TrainClipConfig(TrainingJobConfig):
    """Settings of jobs.train_clip."""

    network: ClipNetworkConfig = ClipNetworkConfig()

    @model_validator(mode="after")
    def _whole_contrast(self) -> "TrainClipConfig":
        if self.train.accumulate > 1:
            raise ValueError(
                f"train.accumulate={self.train.accumulate} would contrast a caption with part of "
                "the batch alone: use 1, and a smaller train.batch_size or more workers"
            )
        if self.train.batch_size == 1:
            raise ValueError(
                "train.batch_size=1: nothing is learnt from a pair with no other to tell it from: "
                "use 2 or more"
            )
        return self


class ClipChoice(Config):
    """Which CLIP embeds pictures and texts."""

    model: str | None = Field(
        None,
        description="name of an open_clip model, local-dir:PATH or hf-hub:ORG/NAME; null: as "
        "pretrained says, for weights of jobs.train_clip",
    )
    pretrained: str | None = Field(
        None,
        description="open_clip's tag, a weights file, or asset:clip, run:ID, a folder of "
        "jobs.train_clip; null: asset:clip, or none for a local-dir or hf-hub model",
    )
