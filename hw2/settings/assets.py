"""Settings of releasing weights."""

from pydantic import Field

from hw2.config import Config, Place


class ReleaseAssetConfig(Config):
    """Settings of jobs.release_asset."""

    model: Place = Field(description="folder of a finished training")
    name: str = Field(pattern="^[a-z0-9_]+$", description="the asset's name")
    command: str = Field("make assets", description="what makes it again, for the card")
    note: str = Field("", description="what the card says below the figures")
