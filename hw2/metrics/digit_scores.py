"""The score sheet of generated digits, as a judge reads them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from jaxtyping import Float, Int64
from torch import Tensor

from hw2.domains import DIGITS, DOMAINS
from hw2.errors import DataError
from hw2.metrics.diversity import relative_diversity
from hw2.metrics.frechet import frechet_estimate, kernel_estimate
from hw2.metrics.intervals import UNDEFINED, Interval, mean_of_intervals, wilson
from hw2.metrics.jackknife import Estimate, Found, interval_of
from hw2.metrics.noise_blocks import INDEPENDENT, Shared

MEAN = "mean"


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


@dataclass(frozen=True)
class Score:
    """One figure: of a domain or MEAN, of a digit or all (None), over n pictures.

    An Estimate is compared in pairs with that of other pictures from the same noises.
    """

    metric: str
    domain: str
    digit: int | None
    found: Found
    n: int

    @property
    def interval(self) -> Interval:
        """The value with its limits."""
        return interval_of(self.found)

    @property
    def key(self) -> str:
        """Its name in a tracker: eval/accuracy, eval/accuracy/mnistm, eval/accuracy/mnistm/3."""
        domain = [] if self.domain == MEAN else [self.domain]
        digit = [] if self.digit is None else [str(self.digit)]
        return "/".join(["eval", self.metric, *domain, *digit])


@dataclass(frozen=True)
class DigitScores:
    """All figures of one set of generated pictures; METRICS says what they are."""

    scores: tuple[Score, ...]

    def get(self, metric: str, domain: str = MEAN, digit: int | None = None) -> Interval:
        """One figure; by default the mean over domains. Raises KeyError if it was not taken."""
        for score in self.scores:
            if (score.metric, score.domain, score.digit) == (metric, domain, digit):
                return score.interval
        raise KeyError((metric, domain, digit))

    def rows(self) -> list[dict[str, str | int | float]]:
        """One row a figure: domain, digit ("all" or 0..9), metric, value, low, high, n."""
        return [
            {
                "domain": score.domain,
                "digit": "all" if score.digit is None else score.digit,
                "metric": score.metric,
                **vars(score.interval),
                "n": score.n,
            }
            for score in self.scores
        ]

    def summary(self) -> list[dict[str, str]]:
        """One row a metric, one column a domain and the mean: the table that a log ends with."""
        table: dict[str, dict[str, str]] = {}
        for score in self.scores:
            if score.digit is None:
                metric = METRICS[score.metric]
                row = table.setdefault(score.metric, {"score": metric.title})
                row[score.domain] = format(score.interval, metric.spec)
        return [table[name] for name in METRICS if name in table]

    def flat(self) -> dict[str, float | Interval]:
        """The figures by key, for a tracker; those of single digits without limits."""
        return {
            score.key: score.interval if score.digit is None else score.interval.value
            for score in self.scores
        }

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """Value, low, high and n by key, ready for JSON."""
        return {score.key: {**score.interval.to_json(), "n": score.n} for score in self.scores}


def score_digits(generated: JudgedPictures, real: JudgedPictures) -> DigitScores:
    """Score generated pictures against real ones, in each domain that was drawn.

    Limits are of 95 %, and allow for noises that digits and domains share, where the generated
    pictures of each come in the order of these: Wilson's of accuracies by a design effect, those of
    diversities and distances by the jackknife over noises. Those of single digits need none of it.
    Distances of fewer than 2 pictures are nan.
    Raises DataError for no pictures, a domain without real ones, or features that are not finite.
    """
    if not len(generated):
        raise DataError("no generated pictures to score")
    scores: list[Score] = []
    domains = sorted(set(generated.domains.tolist()))
    for index in domains:
        name, drawn, held = DOMAINS[index], generated.of_domain(index), real.of_domain(index)
        if not len(held):
            raise DataError(f"no real pictures of {name} to compare {len(drawn)} generated with")
        scores.extend(_score_domain(name, drawn, held))
    whole = generated.of_domain(None), real.of_domain(None)
    for name, metric in METRICS.items():
        if metric.spec:
            parts = [s for s in scores if s.metric == name and s.digit is None]
            mean: Found = mean_of_intervals([part.interval for part in parts])
            if len(parts) == 1:
                mean = parts[0].found
            elif metric.by_noise:
                mean = _limits_of(metric.measure(*whole), mean.value)
            scores.append(Score(name, MEAN, None, mean, sum(part.n for part in parts)))
    return DigitScores(tuple(scores))


def _limits_of(found: Found, value: float) -> Found:
    """`value` with limits as far from it as those of `found` are from its own."""
    if isinstance(found, Estimate):
        return replace(found, value=value)
    return Interval(value, value - (found.value - found.low), value + (found.high - found.value))


def _score_domain(domain: str, drawn: JudgedPictures, held: JudgedPictures) -> Iterator[Score]:
    """The figures of one domain: `drawn` against the real pictures `held`."""
    for digit in drawn.digits.unique().tolist():
        right = drawn.predictions[drawn.digits == digit] == digit
        share = wilson(int(right.sum()), len(right))
        yield Score("accuracy", domain, digit, share, len(right))
    for name, metric in METRICS.items():
        found = metric.measure(drawn, held)
        yield Score(name, domain, None, found, len(held if metric.of_real else drawn))
