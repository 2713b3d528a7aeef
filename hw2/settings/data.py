"""Settings of the data tree and of what makes it."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from hw2.config import Config, Place
from hw2.places import uri_of
from hw2.settings.values import SourceName


def _local(folder: Path) -> Path:
    if uri := uri_of(folder):
        raise ValueError(
            f"{uri} is no folder: want one of this machine, or one that all share (NFS)"
        )
    return folder


Folder = Annotated[Place, AfterValidator(_local)]


class DataConfig(Config):
    """The pictures to train on, or to compare with."""

    root: Folder = Field(Path("hw2_data"), description="the hw2_data tree")
    skip_bad: bool = Field(False, description="leave out bad pictures, listed, instead of stopping")
    cache: Folder | None = Field(None, description="where packed splits go; default: in the tree")


class PrepareDataConfig(Config):
    """Settings of jobs.prepare_data."""

    out: Folder = Field(Path("hw2_data"), description="the tree to build")
    seed: int = Field(0, ge=0, lt=2**63, description="decides every byte of the offline tree")
    source: SourceName = Field(
        "offline", description="made from installed packages, or the real MNIST and SVHN"
    )
    num_train: int = Field(20_000, ge=10, description="train pictures a domain (at most)")
    num_val: int = Field(2_000, ge=10, description="val pictures a domain (at most)")
    num_faces: int = Field(2_000, ge=10, le=10_000, description="real faces")
    num_noises: int = Field(
        10, ge=2, le=100, description="noises that faces are drawn from, and their GT pictures"
    )
    num_clip_train: int = Field(10_000, ge=10, le=100_000, description="captioned pictures")
    num_clip_val: int = Field(50, ge=1, le=10_000, description="val pictures a CLIP class")
    num_text2image: int = Field(
        10_000, ge=0, le=100_000, description="captioned pictures of jobs.train_text2image; 0: none"
    )
    cache: Folder | None = Field(None, description="where torchvision's downloads are kept")
