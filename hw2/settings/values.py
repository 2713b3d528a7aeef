"""Kinds of values that many settings share."""

from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
