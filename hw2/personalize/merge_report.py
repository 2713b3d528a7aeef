"""What a merge says of itself: a row a layer, and what could not be met."""

from hw2.metrics.table import format_table
from hw2.personalize.merging import Merged
from hw2.runlog.tracker import Tracker


def report_merge(merged: Merged, tracker: Tracker) -> None:
    """Write OUT/metrics.json and a table of the layers, and tell of unmet targets."""
    about = merged.to_json()
    tracker.log_metrics(about)
    tracker.log_summary({f"merge/{name}": about[name] for name in ("worst_residual", "objective")})
    rows = [
        {
            "layer": name.replace("transformer_blocks", "block"),
            "residual": f"{result.residual:.1e}",
            "moved": f"{result.moved:.1%}",
            "rank": f"{result.rank} of {len(merged.targets)}",
        }
        for name, result in merged.layers.items()
    ]
    tracker.log_table("layers", rows)
    print(format_table(rows))
    worst: dict[int, tuple[float, str]] = {}  # of an unmet target, its largest miss and the layer
    for name, result in merged.layers.items():
        for place, miss in zip(result.unmet, result.misses, strict=True):
            worst[place] = max(worst.get(place, (0.0, "")), (miss, name))
    for place, (miss, name) in sorted(worst.items()):
        print(f"not met: {merged.targets[place]}: by {miss:.1e} of its value in {name}")
    rounded = f"{about['worst_rounded_residual']:.1e} once rounded to the model's type"
    print(f"worst residual of the targets, relative: {about['worst_residual']:.1e}, {rounded}")
