"""The score sheet of generated digits, as a judge reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hw2.domains import DOMAINS
from hw2.errors import DataError
from hw2.metrics.digit_metrics import METRICS, JudgedPictures
from hw2.metrics.intervals import Interval, mean_of_intervals, wilson
from hw2.metrics.jackknife import Estimate, Found, interval_of

MEAN = "mean"


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
            mean = mean_score(parts)
            if len(parts) == 1:
                mean = replace(mean, found=parts[0].found)
            elif metric.by_noise:
                mean = replace(mean, found=_limits_of(metric.measure(*whole), mean.interval.value))
            scores.append(mean)
    return DigitScores(tuple(scores))


def mean_score(parts: Sequence[Score]) -> Score:
    """The mean of one metric's scores in each domain, which are independent."""
    mean = mean_of_intervals([part.interval for part in parts])
    return Score(parts[0].metric, MEAN, None, mean, sum(part.n for part in parts))


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
