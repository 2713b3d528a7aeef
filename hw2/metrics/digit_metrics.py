"""What is measured of generated digits, as a judge reads them: a table of metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from hw2.domains import DIGITS, DOMAINS
from hw2.errors import DataError
from hw2.metrics.diversity import relative_diversity
from hw2.metrics.frechet import frechet_estimate, kernel_estimate
from hw2.metrics.intervals import UNDEFINED, Interval, wilson
from hw2.metrics.jackknife import Estimate, Found
from hw2.metrics.noise_blocks import INDEPENDENT, Shared


@dataclass(frozen=True)
class JudgedPictures:
    """Pictures with their labels and what the judge says of them.

    `predictions` and `digits` in 0..9, `domains` in 0..1 (an index into DOMAINS), `features` of
    the judge's last layer but one, `pixels` in any unit.
    Raises DataError for lengths that differ and labels out of range.
    """

    predictions: Int64[Tensor, " n"]
    digits: Int64[Tensor, " n"]
    domains: Int64[Tensor, " n"]
    features: Float[Tensor, "n d"]
    pixels: Float[Tensor, "n p"]

    def __post_init__(self) -> None:
        lengths = {name: len(x) for name, x in vars(self).items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"judged pictures of different lengths: {lengths}")
        labels = (("predictions", DIGITS), ("digits", DIGITS), ("domains", DOMAINS))
        for name, allowed in labels:
            values = getattr(self, name)
            wrong = values[(values < 0) | (values >= len(allowed))]
            if len(wrong):
                raise DataError(f"{name}: {int(wrong[0])} is not in 0..{len(allowed) - 1}")

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def classes(self) -> Int64[Tensor, " n"]:
        """Digit and domain as one label."""
        return self.domains * len(DIGITS) + self.digits

    def of_domain(self, domain: int | None) -> "JudgedPictures":
        """The pictures of one domain or all, on the CPU (float64 is not everywhere)."""
        rows = slice(None) if domain is None else self.domains == domain
        return JudgedPictures(**{k: x[rows].detach().cpu() for k, x in vars(self).items()})

    def accuracy(self, by_noise: bool = False) -> Interval:
        """Share of pictures that the judge reads as labelled.

        `by_noise`: the limits allow for the noise that pictures share (noise_blocks.py). Raises
        DataError for no pictures.
        """
        right = self.predictions == self.digits
        shared = Shared.of(right, self.classes) if by_noise else INDEPENDENT
        return wilson(int(right.sum()), len(right), shared.design_effect, shared.freedom)


Measure = Callable[[JudgedPictures, JudgedPictures], Found]


@dataclass(frozen=True)
class Metric:
    """A figure of the pictures of a domain: how it is taken, and how it is shown.

    Attributes:
        measure: of the generated pictures and the real ones.
        title: its name in a table or over a figure.
        column: the same at the head of a narrow column.
        spec: the format of a share, such as ".1%": shares have a mean over domains, others do not,
            since each domain has a judge of its own, and so a scale.
        of_real: it speaks of the real pictures alone.
        by_noise: its limits allow for the noise that all pictures of an index start from
            (noise_blocks.py): those of the mean are taken of both domains at once.
    """

    measure: Measure
    title: str
    column: str
    spec: str = ""
    of_real: bool = False
    by_noise: bool = False


def _accuracy(drawn: JudgedPictures, real: JudgedPictures) -> Interval:
    return drawn.accuracy(by_noise=True)


def _accuracy_real(drawn: JudgedPictures, real: JudgedPictures) -> Interval:
    return real.accuracy()


def _diversity(drawn: JudgedPictures, real: JudgedPictures) -> Estimate:
    return relative_diversity(drawn.features, drawn.classes, real.features, real.classes)


def _diversity_pixels(drawn: JudgedPictures, real: JudgedPictures) -> Estimate:
    return relative_diversity(drawn.pixels, drawn.classes, real.pixels, real.classes)


def _distance(estimate: Callable[..., Estimate]) -> Measure:
    def measure(drawn: JudgedPictures, real: JudgedPictures) -> Found:
        if min(len(drawn), len(real)) < 2:
            return UNDEFINED
        return estimate(drawn.features, real.features, (drawn.classes, real.classes))

    return measure


# All that a report and a sweep tell, in this order.
METRICS = {
    "accuracy": Metric(_accuracy, "judged accuracy", "accuracy", ".1%", by_noise=True),
    "accuracy_real": Metric(
        _accuracy_real, "judged accuracy of real pictures", "of real", ".1%", of_real=True
    ),
    "diversity": Metric(
        _diversity, "diversity / real, judge features", "diversity", ".0%", by_noise=True
    ),
    "diversity_pixels": Metric(
        _diversity_pixels, "diversity / real, pixels", "in pixels", ".0%", by_noise=True
    ),
    "frechet_judge": Metric(
        _distance(frechet_estimate), "Frechet distance, judge features", "Frechet"
    ),
    "kernel_judge": Metric(_distance(kernel_estimate), "kernel distance, judge features", "kernel"),
}
