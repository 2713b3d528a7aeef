"""The figures of a sweep: metrics and paired differences over a setting, and the front."""

import math
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from hw2.figures.charts import Panel, panels
from hw2.figures.front import FrontPoint, front
from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.choice import with_most_samples
from hw2.sweeps.pairs import Difference
from hw2.sweeps.shown import Shown
from hw2.sweeps.space import SHORT, Point, is_number, label_of
from hw2.sweeps.trial import TrialResult

FIGURES = ("curves", "differences", "front")
MAX_LINES = 6  # in a panel; of more settings than that, the first, and the title says so


def sweep_figures(
    config: SweepConfig,
    shown: Shown,
    trials: Sequence[TrialResult],
    best: TrialResult | None,
    pairs: Sequence[Difference],
) -> dict[str, Image.Image]:
    """Pictures by name: `curves` and `differences` where the first setting is a number, `front`.

    Of the trials with the most noises.
    """
    scored = [trial for trial in trials if trial.scores]
    done = with_most_samples(scored)
    most = done[0].samples if done else 0
    x = next(iter(config.baseline), next(iter(config.space)))
    title = f"{most} noises a trial, the same for all; seed {config.seed}"
    if stopped := len(scored) - len(done):
        title += f"; {stopped} with fewer left out"
    order = list(dict.fromkeys(_rest(trial.point, x) for trial in done))  # one colour in all
    figures = {}
    if all(is_number(trial.point[x]) for trial in done):
        values = {
            name: [(t.point, t.scores[name]) for t in done if name in t.scores]
            for name in shown.metrics
        }
        apart = {
            name: [(p.point, p.interval) for p in pairs if p.metric == name]
            for name in shown.metrics
        }
        if charts := _panels(shown, x, values):
            figures["curves"] = panels(charts, title, order)
        if charts := _panels(shown, x, apart, zero=0.0):
            against = label_of(config.baseline)
            told = f"less that of {against}, in pairs; {title}"
            figures["differences"] = panels(charts, told, order)
    if shown.front is not None and (picture := _front(shown, shown.front, x, done, best, order)):
        figures["front"] = picture
    return figures


Values = Sequence[tuple[Point, Interval]]


def _panels(
    shown: Shown, x: str, found: Mapping[str, Values], zero: float | None = None
) -> list[Panel]:
    return [
        _panel(shown.metrics[name].title, x, values, zero)
        for name, values in found.items()
        if any(math.isfinite(interval.value) for _, interval in values)
    ]


def _panel(title: str, x: str, values: Values, zero: float | None) -> Panel:
    """One metric over `x`, a line for each combination of the other settings."""
    rest = [_rest(point, x) for point, _ in values]
    different = list(dict.fromkeys(rest))
    if len(different) > MAX_LINES:
        title += f", {MAX_LINES} of {len(different)} combinations"
    at = sorted({float(point[x]) for point, _ in values})
    found = {
        (name, float(point[x])): interval
        for name, (point, interval) in zip(rest, values, strict=True)
    }
    lines = {
        name: [found.get((name, value), UNDEFINED) for value in at]
        for name in different[:MAX_LINES]
    }
    return Panel(title, SHORT.get(x, x), "", at, lines, zero)


def _rest(point: Point, x: str) -> str:
    """A trial's settings but `x`."""
    return label_of({key: value for key, value in point.items() if key != x})


def _front(
    shown: Shown,
    axes: tuple[str, str],
    x: str,
    done: Iterable[TrialResult],
    best: TrialResult | None,
    order: Sequence[str],
) -> Image.Image | None:
    """Trials that are like but for `x` on a line, unless these are too many to be told apart."""
    across, up = axes
    few = len(order) <= MAX_LINES
    points = {
        trial.folder: FrontPoint(
            label_of({x: trial.point[x]} if few else trial.point),
            trial.scores[across],
            trial.scores[up],
            _rest(trial.point, x) if few else None,
            shown.likeness(trial),
        )
        for trial in done
        if math.isfinite(trial.scores[across].value + trial.scores[up].value)
    }
    if not points:
        return None
    names = (shown.metrics[across].title, shown.metrics[up].title)
    chosen = points.get(best.folder) if best else None
    title = f"{names[1]} against {names[0]}"
    order = order if few else ()
    return front(list(points.values()), title, *names, best=chosen, order=order)
