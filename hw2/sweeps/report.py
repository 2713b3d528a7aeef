"""Telling of a sweep: table, curves, front, the chosen setting, metrics.json."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hw2.errors import ConfigError, TrialsFailed
from hw2.figures.charts import Panel, panels
from hw2.figures.front import FrontPoint, front
from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.metrics.table import format_table
from hw2.runlog.tracker import Tracker
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.choice import Difference, choose, differences
from hw2.sweeps.space import Point, label_of
from hw2.sweeps.trial import TrialResult

MAX_LINES = 6  # in a panel; of more settings than that, the first, and the title says so


class Metric(NamedTuple):
    """How a metric is shown: in a figure, at the head of a column, as a number."""

    title: str
    column: str
    spec: str = ""


@dataclass(frozen=True)
class Shown:
    """What a sweep's table and figures show.

    Attributes:
        metrics: by name.
        front: two metrics that pull apart: of the first 1 is best, of the second most.
        shares: outcomes that are shares, with how many pictures of a noise they are shares of.
    """

    metrics: dict[str, Metric]
    front: tuple[str, str] | None = None
    shares: Mapping[str, int] = field(default_factory=dict)

    def likeness(self, trial: TrialResult) -> float:
        """How near the first metric of the front is to 1, at most 0; nan without it."""
        found = trial.scores.get(self.front[0]) if self.front else None
        return -abs(found.value - 1) if found else math.nan


def check_metrics(config: SweepConfig, shown: Shown) -> None:
    """Raise ConfigError if the sweep shall be decided by a metric that it does not measure."""
    if config.metric not in shown.metrics:
        near = difflib.get_close_matches(config.metric, shown.metrics, 1, 0.4)
        hint = f"did you mean {near[0]}? It measures" if near else "it measures"
        raise ConfigError(f"metric={config.metric}: {hint} {', '.join(shown.metrics)}")
    unknown = [key for key in config.baseline if key not in config.space]
    if unknown:
        raise ConfigError(
            f"baseline.{unknown[0]}: not in the space, which has {', '.join(config.space)}"
        )


def report_sweep(
    config: SweepConfig, shown: Shown, trials: Sequence[TrialResult], out: Path, tracker: Tracker
) -> None:
    """Write and log figures, tables and OUT/metrics.json, and print the table.

    Raises TrialsFailed at the end if a trial failed.
    """
    trials = sorted(trials, key=lambda trial: _order(trial.point))
    best = choose(trials, config.metric, config.mode, config.rule, shown.likeness)
    pairs = differences(trials, config.baseline, config.seed, shown.shares)
    tracker.log_table("trials", [_row(trial) for trial in trials])
    tracker.log_table("differences", [_pair_row(pair) for pair in pairs])
    tracker.log_metrics(_metrics(config, trials, best, pairs))
    if best is not None:
        tracker.log_summary(
            {f"best/{k}": v.value for k, v in best.scores.items() if math.isfinite(v.value)}
        )
        tracker.set_tags({"best": label_of(best.point)})
    _print(config, shown, trials, best, pairs)
    for name, picture in _figures(config, shown, trials, best).items():
        tracker.log_picture(name, picture)
    print(f"figures: {out / 'figures'}")
    failed = [trial for trial in trials if trial.error]
    if failed:
        first = f"{label_of(failed[0].point)}: {failed[0].error}"
        raise TrialsFailed(
            f"{len(failed)} of {len(trials)} trials failed, the first {first}; the traces are in "
            f"{out / 'trials'}; the same command tries them again"
        )


def _order(point: Point) -> list[tuple[int, float, str]]:
    return [(0, value, "") if _is_number(value) else (1, 0, str(value)) for value in point.values()]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _row(trial: TrialResult) -> dict[str, Any]:
    row: dict[str, Any] = {key: _plain(value) for key, value in trial.point.items()}
    row |= {"samples": trial.samples, "seconds": round(trial.seconds, 2)}
    for name, interval in trial.scores.items():
        row |= {name: interval.value, f"{name}.low": interval.low, f"{name}.high": interval.high}
    return row | {"error": trial.error, "trial": trial.folder.name}


def _pair_row(pair: Difference) -> dict[str, Any]:
    baseline = {f"baseline.{k}": _plain(v) for k, v in pair.baseline.items()}
    own = {key: _plain(value) for key, value in pair.point.items()}
    found = {**vars(pair.interval), "n": pair.n, "verdict": pair.verdict}
    return own | {"metric": pair.metric} | baseline | found


def _plain(value: Any) -> Any:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _metrics(
    config: SweepConfig,
    trials: Sequence[TrialResult],
    best: TrialResult | None,
    pairs: Sequence[Difference],
) -> dict[str, Any]:
    return {
        "metric": config.metric,
        "mode": config.mode,
        "rule": config.rule,
        "best": best and {"point": best.point, **_scores(best)},
        "trials": [
            {"point": t.point, "samples": t.samples, "error": t.error, **_scores(t)} for t in trials
        ],
        "differences": [
            {"point": p.point, "baseline": p.baseline, "metric": p.metric, "n": p.n}
            | p.interval.to_json()
            | {"verdict": p.verdict}
            for p in pairs
        ],
    }


def _scores(trial: TrialResult) -> dict[str, Any]:
    return {"scores": {name: interval.to_json() for name, interval in trial.scores.items()}}


def _figures(
    config: SweepConfig, shown: Shown, trials: Sequence[TrialResult], best: TrialResult | None
) -> dict[str, Any]:
    done = [trial for trial in trials if trial.scores]
    if not done:
        return {}
    x = next(iter(config.baseline), next(iter(config.space)))
    title = f"{config.samples} noises a trial, the same for all; seed {config.seed}"
    figures = {}
    if all(_is_number(trial.point[x]) for trial in done):
        drawn = [_panel(name, shown.metrics[name].title, x, done) for name in shown.metrics]
        if known := [panel for panel in drawn if panel is not None]:
            figures["curves"] = panels(known, title)
    if shown.front is not None:
        across, up = shown.front
        points = {
            trial.folder: FrontPoint(
                label_of({x: trial.point[x]}),
                trial.scores[across],
                trial.scores[up],
                label_of({k: v for k, v in trial.point.items() if k != x}),
                shown.likeness(trial),
            )
            for trial in done
            if math.isfinite(trial.scores[across].value + trial.scores[up].value)
        }
        if points:
            names = (shown.metrics[across].title, shown.metrics[up].title)
            chosen = points.get(best.folder) if best else None
            title = f"{names[1]} against {names[0]}"
            figures["front"] = front(list(points.values()), title, *names, best=chosen)
    return figures


def _panel(metric: str, title: str, x: str, trials: Sequence[TrialResult]) -> Panel | None:
    """One metric over `x`, a line for each combination of the other settings."""
    if not any(metric in t.scores and math.isfinite(t.scores[metric].value) for t in trials):
        return None
    rest = [{k: v for k, v in trial.point.items() if k != x} for trial in trials]
    names = [label_of(point) for point in rest]
    different = list(dict.fromkeys(names))
    if len(different) > MAX_LINES:
        title += f", {MAX_LINES} of {len(different)} combinations"
    at = sorted({float(trial.point[x]) for trial in trials})
    found = {
        (name, float(trial.point[x])): trial.scores.get(metric, UNDEFINED)
        for trial, name in zip(trials, names, strict=True)
    }
    lines = {
        name: [found.get((name, value), UNDEFINED) for value in at]
        for name in different[:MAX_LINES]
    }
    return Panel(title, label_of({x: ""}).rstrip("="), "", at, lines)


def _print(
    config: SweepConfig,
    shown: Shown,
    trials: Sequence[TrialResult],
    best: TrialResult | None,
    pairs: Sequence[Difference],
) -> None:
    rows = []
    for trial in trials:
        row = {"setting": label_of(trial.point), "samples": str(trial.samples)}
        for name, metric in shown.metrics.items():
            if name in trial.scores:
                row[metric.column] = _shown(trial.scores[name], metric.spec)
        if trial.error:
            row["error"] = trial.error[:60]
        rows.append(row)
    print(format_table(rows))
    if pairs:
        told = [
            {
                "setting": label_of(pair.point),
                "against": label_of(pair.baseline),
                "metric": pair.metric,
                "difference": str(pair.interval),
                "on the same noises": pair.verdict,
            }
            for pair in pairs
        ]
        print(format_table(told))
        if len(pairs) > 1:
            print(f"limits and words of each alone: not adjusted for {len(pairs)} differences")
        if config.metric not in (paired := sorted({pair.metric for pair in pairs})):
            said = f"{config.metric} is no mean over noises: differences are of"
            print(said, ", ".join(paired))
    if best is not None:
        value = _shown(best.scores[config.metric], shown.metrics[config.metric].spec)
        rule = config.rule.replace("_", " ")
        print(f"chosen ({rule}, {config.mode} {config.metric}): {label_of(best.point)}: {value}")
    elif not any(trial.error for trial in trials):
        print(f"chosen: none, since {config.metric} was measured in no trial")


def _shown(interval: Interval, spec: str) -> str:
    exact = interval.low == interval.value == interval.high
    return f"{interval.value:g}" if exact else format(interval, spec)
