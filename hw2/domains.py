"""The names that conditions go by: a label is an index into these."""

from typing import Literal

Domain = Literal["mnistm", "svhn"]
DOMAINS: tuple[Domain, ...] = ("mnistm", "svhn")
DIGITS = range(10)
