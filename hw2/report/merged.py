"""The merge of concepts from what its job left: how well each layer meets its targets."""

from dataclasses import dataclass

from hw2.report.outputs import JobOutput
from hw2.report.parts import Cell, Sources, Table, sources
from hw2.report.sentences import Said

NAMED = 5  # conflicting targets, at most


@dataclass(frozen=True)
class Merge:
    """The closed form's own figures, a row a layer."""

    source: Sources
    table: Table
    said: tuple[Said, ...]


def merge(job: JobOutput) -> Merge:
    """The layers of jobs.merge_concepts."""
    layers, targets = job.metric("layers"), job.metric("targets")
    rows, unmet = [], set()
    for name, of in layers.items():
        unmet |= set(of["unmet"])
        rows.append(
            (
                Cell(str(name)),
                Cell(f"{of['residual']:.1e}", of["residual"]),
                Cell(f"{of['rounded_residual']:.1e}", of["rounded_residual"]),
                Cell(f"{of['moved']:.0%}".replace("%", " %"), of["moved"]),
                Cell(f"{of['rank']}", of["rank"]),
            )
        )
    named = tuple(str(targets[place]) for place in sorted(unmet))
    values: dict[str, str | tuple[str, ...]] = {
        "layers": str(len(layers)),
        "targets": str(len(targets)),
        "worst": f"{float(job.metric('worst_residual')):.1e}",
        "rounded": f"{float(job.metric('worst_rounded_residual')):.1e}",
        "moved": f"{max(of['moved'] for of in layers.values()):.0%}".replace("%", " %"),
        "unmet": str(len(unmet)),
        "named": named if len(named) <= NAMED else (*named[:NAMED], "\u2026"),
    }
    said = (Said("p3.merge_unmet" if unmet else "p3.merge_met", values),)
    columns = tuple(f"table.{key}" for key in ("layer", "residual", "rounded", "moved", "rank"))
    keys = ("model", "concepts", "captions", "num_captions", "num_targets")
    return Merge(sources(job, keys=keys), Table(columns, tuple(rows)), said)
