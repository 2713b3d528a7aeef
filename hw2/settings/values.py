"""Kinds of values that many settings share."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def absolute(model: str) -> str:
    """A path as an absolute one; a hub's name, run:ID and asset:NAME stay as they are."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model
