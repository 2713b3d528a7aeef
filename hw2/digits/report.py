"""Scoring a folder of drawn digits, and telling of it: table, metrics.json, MLflow."""

from collections.abc import Mapping, Sequence
from typing import Any

from hw2.data.digits import DigitSplit
from hw2.data.layout import shown_name
from hw2.digits.compared import Apart, compare, pairs_with, part_of
from hw2.digits.folder import read_cost, read_drawn, reverse_paths, write_sheets
from hw2.digits.judging import judge_pictures
from hw2.domains import DOMAINS
from hw2.metrics.digit_metrics import METRICS, JudgedPictures
from hw2.metrics.digit_scores import MEAN, score_digits
from hw2.metrics.table import format_table
from hw2.models.judge import Judge
from hw2.runlog.tracker import Tracker
from hw2.settings.digits import SampleDigitsConfig

TABLES = ("scores", "differences")


def report_digits(
    config: SampleDigitsConfig,
    judge: Judge | None,
    real: DigitSplit | None,
    tracker: Tracker,
) -> None:
    """Make sheets of the pictures in OUT and score them against the `real` ones.

    Writes OUT/figures and OUT/metrics.json, and logs all of it. Without a judge and real pictures
    there are no scores.
    """
    out = tracker.out
    images, digits, domains = read_drawn(out, config)
    figures = write_sheets(images, out, config)
    figures += [path for domain in config.domains for path in reverse_paths(out, domain)]
    for path in figures:
        tracker.log_figure(path)
    cost = read_cost(out)
    if judge is None or real is None:
        tracker.log_metrics(cost)
        tracker.log_summary(cost)
        for name in TABLES:  # of an earlier call, with a judge
            tracker.log_table(name, [])
    else:
        judged = judge_pictures(judge, images, digits, domains)
        _report_scores(config, judge, judged, real, cost, tracker)
    for calls in cost.values():
        print(f"network calls a picture: {calls}")
    print("pictures:", *(str(path) for path in figures), sep="\n  ")


def _report_scores(
    config: SampleDigitsConfig,
    judge: Judge,
    judged: JudgedPictures,
    real: DigitSplit,
    cost: Mapping[str, float],
    tracker: Tracker,
) -> None:
    """Tell how `judged` compare with the `real` ones, and `cost` beside it."""
    real_judged = judge_pictures(judge, real.images, real.digits, real.domains)
    scores = score_digits(judged, real_judged)
    apart = _compared(config, judge, judged, real_judged)
    differences = [_row(one) for one in apart]
    against = {"against": differences} if apart else {}
    tracker.log_metrics({**cost, **scores.to_json(), **against})
    tracker.log_summary({**cost, **scores.flat()})
    for name, table in zip(TABLES, (scores.rows(), differences), strict=True):
        tracker.log_table(name, table)
    names: dict[str, str] = {
        d: shown_name(config.data.root, d) for d in DOMAINS if d in config.domains
    }
    rows = [{names.get(k, k): v for k, v in row.items()} for row in scores.summary()]
    print(format_table(rows, ["score", *names.values(), MEAN]))
    if apart:
        print(f"less that of {config.against}, on the same noises; *: shown to differ")
        print(format_table(_shown(apart, names), ["score", *names.values(), MEAN]))


def _compared(
    config: SampleDigitsConfig, judge: Judge, judged: JudgedPictures, real: JudgedPictures
) -> list[Apart]:
    """The differences of each domain and of the mean; none without a folder to compare with."""
    if config.against is None:
        return []
    shared = pairs_with(config)
    other = judge_pictures(judge, *read_drawn(config.against, shared))
    return compare(part_of(judged, config, shared), other, real, shared)


def _shown(apart: Sequence[Apart], names: Mapping[str, str]) -> list[dict[str, str]]:
    """A row a metric, a column a domain; shares in points; accuracy's pictures below it."""
    rows: dict[str, dict[str, str]] = {}

    def tell(score: str, domain: str, value: str) -> None:
        rows.setdefault(score, {"score": score})[names.get(domain, domain)] = value

    for one in apart:
        metric = METRICS[one.metric]
        unit = ", points" if metric.spec else ""
        tell(metric.title + unit, one.domain, one.interval.as_difference(metric.spec))
        if one.only_this is not None:
            tell("pictures read right here alone", one.domain, str(one.only_this))
            tell("pictures read right there alone", one.domain, str(one.only_other))
    return list(rows.values())


def _row(apart: Apart) -> dict[str, Any]:
    row = {**vars(apart), **vars(apart.interval)}
    del row["interval"]
    return row
