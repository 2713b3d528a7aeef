"""The reliability diagram: accuracy over confidence, and how often each confidence is given."""

from collections.abc import Sequence

from PIL import Image

from hw2.figures.charts import COLOURS, arms_of, blank_axes, dress_axes, picture_of
from hw2.figures.grid import INK
from hw2.metrics.calibration import ReliabilityBin
from hw2.metrics.intervals import Interval

INCHES = (7.0, 7.0)


def reliability_figure(bins: Sequence[ReliabilityBin], ece: Interval, title: str) -> Image.Image:
    """Accuracy of each bin with its limits at its mean confidence, above the counts of the bins.

    Shaded is the gap to the diagonal, where a calibrated classifier would lie; the areas weighted
    by the counts make up `ece`.
    """
    figure, (axes,) = blank_axes()
    figure.set_size_inches(INCHES)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
    axes.set_subplotspec(grid[0])
    counts = figure.add_subplot(grid[1], sharex=axes, axisbelow=True)

    dress_axes(axes, title, "", "accuracy")
    left, widths = [b.low for b in bins], [b.high - b.low for b in bins]
    at, accuracies = [b.confidence for b in bins], [b.accuracy for b in bins]
    gaps = [accuracy.value - x for x, accuracy in zip(at, accuracies, strict=True)]
    style = {"align": "edge", "edgecolor": "none"}
    shade = {"color": COLOURS[1], "alpha": 0.25, "label": "gap"}
    axes.bar(left, gaps, widths, at, **style, **shade)
    axes.plot([0, 1], [0, 1], color=INK, lw=1, ls="--", label="calibrated")
    heights = [a.value for a in accuracies]
    points = {"c": COLOURS[0], "fmt": "o", "ms": 5, "capsize": 3, "label": "accuracy"}
    axes.errorbar(at, heights, arms_of(accuracies), **points)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    axes.tick_params(labelbottom=False)
    # Over-confidence, the usual case, leaves this corner free.
    axes.legend(frameon=False, loc="upper left", title=f"ECE {ece:.1%}", alignment="left")

    dress_axes(counts, "", "confidence", "pictures")
    counts.bar(left, [b.n for b in bins], widths, color="#8ab4d8", **{**style, "edgecolor": "w"})
    counts.yaxis.set_major_formatter("{x:,.0f}")
    return picture_of(figure)
