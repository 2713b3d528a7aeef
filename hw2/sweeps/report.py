"""Telling of a sweep: table, curves, front, the chosen setting, metrics.json."""

from collections.abc import Sequence
from typing import Any

from hw2.errors import ConfigError, TrialsFailed, nearest
from hw2.metrics.table import format_table
from hw2.runlog.tracker import Tracker
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.choice import choose
from hw2.sweeps.figures import FIGURES, sweep_figures
from hw2.sweeps.pairs import Difference, differences
from hw2.sweeps.shown import Shown
from hw2.sweeps.space import Point, is_number, key_of, label_of
from hw2.sweeps.trial import TrialResult


def check_metrics(config: SweepConfig, shown: Shown) -> None:
    """Raise ConfigError if the sweep shall be decided by a metric that it does not measure."""
    if config.metric not in shown.metrics:
        near = nearest(config.metric, shown.metrics)
        hint = f"{near} It measures" if near else "it measures"
        raise ConfigError(f"metric={config.metric}: {hint} {', '.join(shown.metrics)}")
    unknown = [key for key in config.baseline if key not in config.space]
    if unknown:
        raise ConfigError(
            f"baseline.{unknown[0]}: not in the space, which has {', '.join(config.space)}"
        )


def report_sweep(
    config: SweepConfig, shown: Shown, trials: Sequence[TrialResult], tracker: Tracker
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
        tracker.log_summary({f"best/{name}": found for name, found in best.scores.items()})
        tracker.set_tags({"best": label_of(best.point)})
    _print(config, shown, trials, best, pairs)
    folder, figures = tracker.out / "figures", sweep_figures(config, shown, trials, best, pairs)
    for name, picture in figures.items():
        tracker.log_picture(name, picture)
    for name in {*FIGURES} - {*figures}:  # of an earlier call, with other settings
        (folder / f"{name}.png").unlink(missing_ok=True)
    print(f"figures: {folder}")
    failed = [trial for trial in trials if trial.error]
    if failed:
        first = f"{label_of(failed[0].point)}: {failed[0].error}"
        raise TrialsFailed(
            f"{len(failed)} of {len(trials)} trials failed, the first {first}; the traces are in "
            f"{tracker.out / 'trials'}; the same command tries them again"
        )


def _order(point: Point) -> list[tuple[int, float, str]]:
    return [(0, value, "") if is_number(value) else (1, 0, str(value)) for value in point.values()]


def _row(trial: TrialResult) -> dict[str, Any]:
    row: dict[str, Any] = {key: _plain(value) for key, value in trial.point.items()}
    row |= {"samples": trial.samples, "seconds": round(trial.seconds, 2)}
    for name, interval in trial.scores.items():
        row |= interval.named(name)
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
                row[metric.column] = metric.shown(trial.scores[name])
        if trial.error:
            row["error"] = trial.error[:60]
        rows.append(row)
    print(format_table(rows))
    if pairs := [pair for pair in pairs if pair.metric in shown.metrics]:
        print(f"less that of {label_of(config.baseline)}, on the same noises; shares in points:")
        rows = _differences(shown, pairs)
        columns = [metric.column for metric in shown.metrics.values()]
        known = [column for column in columns if any(column in row for row in rows)]
        print(format_table(rows, ["setting", *known]))
        print("*: shown to differ", end="")
        print(f"; limits of each alone, not adjusted for {len(pairs)}" if len(pairs) > 1 else "")
    if best is not None:
        value = shown.metrics[config.metric].shown(best.scores[config.metric])
        rule = config.rule.replace("_", " ")
        point = label_of(best.point, exact=True)
        print(f"chosen ({rule}, {config.mode} {config.metric}): {point}: {value}")
    elif not any(trial.error for trial in trials):
        print(f"chosen: none, since {config.metric} was measured in no trial")


def _differences(shown: Shown, pairs: Sequence[Difference]) -> list[dict[str, str]]:
    """A row a setting, a column a metric."""
    rows: dict[str, dict[str, str]] = {}
    for pair in pairs:
        metric = shown.metrics[pair.metric]
        row = rows.setdefault(key_of(pair.point), {"setting": label_of(pair.point)})
        row[metric.column] = pair.interval.as_difference(metric.spec)
    return list(rows.values())
