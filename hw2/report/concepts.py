"""Personalization from what its jobs left: concepts alone and together, trainings, the merge."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw2.data.concepts import concept_pictures, read_concepts
from hw2.errors import DataError
from hw2.metrics.intervals import Interval
from hw2.personalize.generating import picture_path, source_stem, together_stem
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import EMPTY, Cell, Grid, Said, Sources, Table, number, sources
from hw2.report.pictures import read_tiles, tiles

COLUMNS = 5
PASSED = {"True": "\u2713", "False": "\u2717"}
UNTRAINED = "untrained"
DRAWING = ("model", "num_inference_steps", "guidance_weight", "num_pictures")


@dataclass(frozen=True)
class Trained:
    """The error of each training on its concepts' pictures, before and after."""

    source: Sources
    table: Table
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Alone:
    """A concept's given pictures over the best that were drawn of it."""

    token: str
    grid: Grid
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Concepts:
    """Each concept by itself, with its scores."""

    source: Sources
    clip: str
    concepts: tuple[Alone, ...]
    table: Table

    @property
    def prompts(self) -> str:
        """All their prompts."""
        return "; ".join(prompt for one in self.concepts for prompt in one.prompts)


@dataclass(frozen=True)
class Together:
    """A prompt with several concepts, a row a way, and how the ways compare."""

    prompt: str
    grid: Grid
    scores: Table
    differences: Table
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Several:
    """All prompts with several concepts."""

    source: Sources
    prompts: tuple[Together, ...]


@dataclass(frozen=True)
class Merge:
    """The closed form's own figures, a row a layer."""

    source: Sources
    table: Table
    said: tuple[Said, ...]


def trained(jobs: Sequence[JobOutput]) -> Trained:
    """The trainings of jobs.textual_inversion and jobs.custom_diffusion."""
    rows, better = [], 0
    for job in jobs:
        before, after, change = (
            job.interval(key) for key in ("eval/loss_untrained", "eval/loss", "eval/loss_change")
        )
        better += change.high < 0
        about = job.config.get("sources") or [job.config.get("source")]
        rows.append(
            (
                Cell(job.name),
                Cell(", ".join(map(str, about))),
                Cell(str(job.config["train"]["num_steps"]), job.config["train"]["num_steps"]),
                number(before),
                number(after),
                number(change),
            )
        )
    columns = ("step", "source", "steps", "loss_before", "loss_after", "loss_change")
    said = (Said("p3.trained", {"better": str(better), "n": str(len(jobs))}),)
    keys = ("model", "templates")
    table = Table(tuple(f"table.{c}" for c in columns), tuple(rows))
    return Trained(sources(*jobs, keys=keys), table, said)


def concepts(generated: JobOutput, grades: JobOutput) -> Concepts:
    """The concepts that were drawn alone: given pictures, then the best of each prompt."""
    given = read_concepts(Path(grades.config["input"]))
    shown, rows = [], []
    for name, found in grades.metric("concepts").items():
        if not found["prompts"] or name not in given:
            continue
        best = [
            read_tiles(
                [picture_path(generated.out, source_stem(name, place), n) for n in one["best"]]
            )
            for place, one in enumerate(found["prompts"])
        ]
        side = best[0][0].shape[0]
        own = concept_pictures(given[name], side).movedim(1, -1).numpy()[:COLUMNS]
        made = tiles([list(own), *best])
        prompts = tuple(str(one["prompt"]) for one in found["prompts"])
        about = Said("alt.concept", {"token": str(found["token"])})
        shown.append(
            Alone(str(found["token"]), Grid(made, about, title=str(found["token"])), prompts)
        )
        rows += [(Cell(str(found["token"])), *_grade(one)) for one in found["prompts"]]
    columns = ("token", "prompt", "image", "text", "image_change", "best", "baseline", "passed")
    table = Table(tuple(f"table.{c}" for c in columns), tuple(rows))
    source = sources(generated, grades, keys=DRAWING)
    clip = grades.config.get("pretrained") or grades.config.get("model") or "asset:clip"
    return Concepts(source, str(clip), tuple(shown), table)


def _grade(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    baseline = one.get("baseline")
    change = one.get("image_change")
    return (
        Cell(str(one["prompt"])),
        number(as_interval(one["image"])),
        number(as_interval(one["text"])),
        Cell(EMPTY) if change is None else number(as_interval(change)),
        Cell(f"{one['best_image']:.1f}, {one['best_text']:.1f}", one["best_image"]),
        Cell(EMPTY if baseline is None else f"{baseline[0]:g}, {baseline[1]:g}"),
        Cell(PASSED.get(str(one.get("passed")), EMPTY)),
    )


def several(generated: JobOutput, grades: JobOutput, untrained: JobOutput | None = None) -> Several:
    """The prompts with several concepts, in every way side by side."""
    tokens = {name: str(of["token"]) for name, of in grades.metric("concepts").items()}
    prompts = []
    for place, found in enumerate(grades.metric("together")):
        folders = {way: generated.out for way in found["ways"]}
        if untrained is not None:
            folders = {UNTRAINED: untrained.out, **folders}
        count = min(COLUMNS, int(found["pictures"]))
        rows = [
            read_tiles([picture_path(out, together_stem(way, place), n) for n in range(count)])
            for way, out in folders.items()
        ]
        about = Said("alt.together", {"prompt": str(found["prompt"]), "ways": named_ways(folders)})
        grid = Grid(tiles(rows), about, tuple(folders), tuple(f"{n:02d}" for n in range(count)))
        named = [tokens.get(name, name) for name in found["concepts"]]
        prompts.append(
            Together(
                str(found["prompt"]),
                grid,
                _together_scores(found, named),
                _differences(found),
                _said_of_ways(found),
            )
        )
    if not prompts:
        raise DataError(f"{generated.out}: no prompt has several concepts: give some as together")
    extra = (untrained,) if untrained is not None else ()
    return Several(sources(generated, grades, *extra, keys=DRAWING), tuple(prompts))


def _together_scores(found: Mapping[str, Any], tokens: Sequence[str]) -> Table:
    rows = []
    for way, of in found["ways"].items():
        own = [number(as_interval(of["image"][name])) for name in found["concepts"]]
        there = number(as_interval(of["both_there"]), ".0%")
        rows.append((Cell(way), *own, number(as_interval(of["both"])), there))
    return Table(("table.way", *tokens, "score.both", "score.both_there"), tuple(rows))


def _differences(found: Mapping[str, Any]) -> Table:
    rows = [
        (Cell(pair), number(as_interval(of))) for pair, of in found["differences_of_both"].items()
    ]
    return Table(("table.ways", "table.both_difference"), tuple(rows))


def _said_of_ways(found: Mapping[str, Any]) -> tuple[Said, ...]:
    both = {way: as_interval(of["both"]) for way, of in found["ways"].items()}
    there = {way: as_interval(of["both_there"]) for way, of in found["ways"].items()}
    best = max(both, key=lambda way: both[way].value)
    values: dict[str, str | tuple[str, ...]] = {
        "way": f"ways.{best}",
        "both": str(both[best]),
        "there": format(there[best], ".0%"),
    }
    pairs = {pair: as_interval(of) for pair, of in found["differences_of_both"].items()}
    clear = [pair for pair, of in pairs.items() if best in pair.split(" - ") and _clear(of)]
    if len(both) == 1:
        kind = "only"
    else:
        kind = {len(both) - 1: "clear", 0: "tied"}.get(len(clear), "partly")
        values["pairs"] = "; ".join(
            f"{pair}: {of}" for pair, of in pairs.items() if best in pair.split(" - ")
        )
    said = [Said(f"p3.ways_{kind}", values)]
    none = [way for way, share in there.items() if share.value == 0]
    if none:
        said.append(Said("p3.ways_never", {"ways": named_ways(none), "n": str(found["pictures"])}))
    return tuple(said)


def named_ways(ways: Iterable[str]) -> tuple[str, ...]:
    """The ways' keys in the texts."""
    return tuple(f"ways.{way}" for way in ways)


def _clear(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def merge(job: JobOutput) -> Merge:
    """The layers of jobs.merge_concepts."""
    layers, rows, unmet = job.metric("layers"), [], set()
    targets = job.metric("targets")
    for name, of in layers.items():
        unmet |= set(of.get("unmet", []))
        rows.append(
            (
                Cell(str(name)),
                Cell(f"{of['residual']:.1e}", of["residual"]),
                Cell(f"{of['objective']:.3g}", of["objective"]),
                Cell(f"{of['rank']}", of["rank"]),
            )
        )
    columns = ("table.layer", "table.residual", "table.moved", "table.rank")
    worst = float(job.metric("worst_residual"))
    values = {
        "layers": str(len(layers)),
        "targets": str(len(targets)),
        "worst": f"{worst:.1e}",
        "moved": f"{float(job.metric('objective')):.3g}",
        "unmet": str(len(unmet)),
    }
    said = (Said("p3.merge_met" if not unmet else "p3.merge_unmet", values),)
    keys = ("model", "concepts", "num_captions", "num_targets")
    return Merge(sources(job, keys=keys), Table(columns, tuple(rows)), said)
