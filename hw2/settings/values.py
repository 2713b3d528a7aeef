"""Kinds of values that many settings share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

T = TypeVar("T")
HW2 = Path(__file__).parents[1]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    Field(description="auto: bf16 where the device multiplies it natively"),
]
# The same where a figure hangs on it.
ExactPrecision = Annotated[
    Precision, Field(description="auto: bf16 where the device multiplies it natively, less exact")
]
MinSnrGamma = Annotated[
    Annotated[float, Field(gt=0)] | None,
    Field(description="min-SNR loss weight (5 in the paper); null: all timesteps alike"),
]
Weighting = Annotated[
    Literal["uniform", "importance"],
    Field(description="uniform: drawn evenly, weighted in the loss; importance: drawn by weight"),
]


def _rises(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("want the lower share first")
    return interval


GuidanceInterval = Annotated[tuple[Fraction, Fraction], AfterValidator(_rises)]


def _modules_in(folder: str) -> tuple[str, ...]:
    """The modules of a folder of hw2, by name; to import them would take seconds."""
    return tuple(sorted(path.stem for path in (HW2 / folder).glob("[!_]*.py")))


if TYPE_CHECKING:
    SamplerName = SourceName = str
else:  # a file more is a name more
    SamplerName = Annotated[
        Literal[_modules_in("diffusion/solvers")],
        Field(description="ddim: deterministic or between (eta); ddpm: ancestral; others: fast"),
    ]
    SourceName = Literal[_modules_in("data/sources")]


def each_once(what: str) -> AfterValidator:
    """Refuses a list of them with one that is there twice."""

    def check(found: tuple[T, ...]) -> tuple[T, ...]:
        if len(set(found)) < len(found):
            raise ValueError(f"want each {what} once")
        return found

    return AfterValidator(check)


def absolute(model: str) -> str:
    """A path as an absolute one; a hub's name, run:ID and asset:NAME stay as they are."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model
