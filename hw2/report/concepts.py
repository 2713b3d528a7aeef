"""Concepts from what their jobs left: each alone, and several together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw2.data.concepts import Concept, concept_pictures, read_concepts
from hw2.errors import DataError
from hw2.metrics.intervals import Interval
from hw2.personalize.generating import picture_path, source_stem, together_stem
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import Cell, Grid, Sources, Table, number, sources
from hw2.report.pictures import read_tiles, tiles
from hw2.report.sentences import EMPTY, Said, negated, shown
from hw2.report.stand_ins import is_stand_in

COLUMNS = 5
PASSED = {"True": "\u2713", "False": "\u2717"}
UNTRAINED = "untrained"
WAYS = (UNTRAINED, "separate", "joint", "merged")
NOTHING = Table((), ())
DRAWING = ("model", "num_inference_steps", "guidance_weight", "precision", "num_pictures")


@dataclass(frozen=True)
class Concepts:
    """Each concept by itself, with its scores; without grades these are empty.

    `way` has drawn them. `made`: the concepts and their baselines are not the course's.
    """

    source: Sources
    grids: tuple[Grid, ...]
    way: str | Said
    clip: str = ""
    table: Table = NOTHING
    said: tuple[Said, ...] = ()
    made: bool = False


@dataclass(frozen=True)
class Together:
    """A prompt with several concepts, a row a way, and how the ways compare."""

    prompt: str
    grid: Grid
    scores: Table = NOTHING
    differences: Table = NOTHING
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Several:
    """All prompts with several concepts."""

    source: Sources
    prompts: tuple[Together, ...]
    clip: str = ""


def alone(concept: Concept, rows: Sequence[Sequence[Path]]) -> Grid:
    """A concept's given pictures over drawn ones, a row a prompt."""
    made = [read_tiles(paths) for paths in rows]
    own = concept_pictures(concept, made[0][0].shape[0]).movedim(1, -1).numpy()[:COLUMNS]
    token = concept.token_name
    labels: tuple[str | Said, ...] = (Said("p3.given"), *concept.prompts)
    about = Said("alt.concept", {"token": token, "rows": labels})
    return Grid(tiles([list(own), *made]), about, labels, title=token)


def together_grid(prompt: str, ways: Mapping[str, Sequence[Path]]) -> Grid:
    """Pictures of a prompt with several concepts, a row a way."""
    about = Said("alt.together", {"prompt": prompt, "ways": named_ways(ways)})
    count = max(map(len, ways.values()))
    rows = [read_tiles(paths) for paths in ways.values()]
    return Grid(tiles(rows), about, named_ways(ways), tuple(f"{n:02d}" for n in range(count)))


def concepts(generated: JobOutput, grades: JobOutput) -> Concepts:
    """The concepts that were drawn alone: given pictures, then the best of each prompt."""
    given = read_concepts(Path(grades.config["input"]))
    made, rows, changes = [], [], []
    for name, found in grades.metric("concepts").items():
        if not found["prompts"] or name not in given:
            continue
        best = [
            [picture_path(generated.out, source_stem(name, place), n) for n in one["best"]]
            for place, one in enumerate(found["prompts"])
        ]
        made.append(alone(given[name], best))
        rows += [(Cell(str(found["token"])), *_grade(one)) for one in found["prompts"]]
        changes += [
            (str(one["prompt"]), as_interval(one["image_change"]))
            for one in found["prompts"]
            if "image_change" in one
        ]
    columns = ("token", "prompt", "image", "text", "image_change", "best", "baseline", "passed")
    table = Table(tuple(f"table.{c}" for c in columns), tuple(rows))
    source = sources(generated, grades, keys=DRAWING)
    return Concepts(
        source,
        tuple(made),
        way_of_alone(generated),
        grades.clip_name,
        table,
        _said_of_changes(changes),
        is_stand_in(grades, "concepts"),
    )


def way_of_alone(generated: JobOutput) -> str | Said:
    """The way in which the pictures of single concepts were drawn: the first that was given."""
    return named_way(next((way for way in WAYS if generated.config.get(way)), EMPTY))


def _said_of_changes(changes: Sequence[tuple[str, Interval]]) -> tuple[Said, ...]:
    """For how many prompts training is shown to have raised the image score, and lowered it."""
    if not changes:
        return ()
    risen = sum(change.low > 0 for _, change in changes)
    said = [Said("p3.alone_risen", {"risen": str(risen), "n": str(len(changes))})]
    fallen = tuple(
        Said("format.named", {"name": prompt, "value": shown(change)})
        for prompt, change in changes
        if change.high < 0
    )
    if fallen:
        said.append(Said("p3.alone_fallen", {"prompts": fallen}))
    return tuple(said)


def _grade(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    baseline = one.get("baseline")
    change = one.get("image_change")
    return (
        Cell(str(one["prompt"])),
        number(as_interval(one["image"])),
        number(as_interval(one["text"])),
        Cell(EMPTY) if change is None else number(as_interval(change)),
        Cell(f"{one['best_image']:.1f}, {one['best_text']:.1f}", one["best_image"]),
        Cell(EMPTY) if baseline is None else Cell(f"{baseline[0]:g}, {baseline[1]:g}", baseline[0]),
        Cell(PASSED.get(str(one.get("passed")), EMPTY)),
    )


def several(generated: JobOutput, grades: JobOutput, untrained: JobOutput | None = None) -> Several:
    """The prompts with several concepts, in every way side by side."""
    tokens = {name: str(of["token"]) for name, of in grades.metric("concepts").items()}
    prompts = []
    for place, found in enumerate(grades.metric("together")):
        folders = dict.fromkeys(found["ways"], generated.out)
        if untrained is not None and _same_noises(generated, untrained, place):
            folders = {UNTRAINED: untrained.out, **folders}
        count = min(COLUMNS, int(found["pictures"]))
        paths = {
            way: [picture_path(out, together_stem(way, place), n) for n in range(count)]
            for way, out in folders.items()
        }
        grid = together_grid(str(found["prompt"]), paths)
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
    extra = (untrained,) if any(named_way(UNTRAINED) in one.grid.rows for one in prompts) else ()
    source = sources(generated, grades, *(job for job in extra if job), keys=DRAWING)
    return Several(source, tuple(prompts), grades.clip_name)


def _same_noises(generated: JobOutput, untrained: JobOutput, place: int) -> bool:
    """Whether prompt `place` of both is the same, drawn from the same noises."""
    prompts = [list(job.config["together"])[place : place + 1] for job in (generated, untrained)]
    return generated.seed == untrained.seed and prompts[0] == prompts[1]


def _together_scores(found: Mapping[str, Any], tokens: Sequence[str]) -> Table:
    rows = []
    for way, of in found["ways"].items():
        own = [number(as_interval(of["image"][name])) for name in found["concepts"]]
        there = number(as_interval(of["both_there"]), ".0%")
        rows.append((Cell(named_way(way)), *own, number(as_interval(of["both"])), there))
    return Table(("table.way", *tokens, "score.both", "score.both_there"), tuple(rows))


def _differences(found: Mapping[str, Any]) -> Table:
    rows = [
        (Cell(_pair(*pair.split(" - "))), number(as_interval(of)))
        for pair, of in found["differences_of_both"].items()
    ]
    return Table(("table.ways", "table.both_difference"), tuple(rows))


def _said_of_ways(found: Mapping[str, Any]) -> tuple[Said, ...]:
    both = {way: as_interval(of["both"]) for way, of in found["ways"].items()}
    there = {way: as_interval(of["both_there"]) for way, of in found["ways"].items()}
    best = max(both, key=lambda way: both[way].value)
    values: dict[str, str | Said | tuple[Said, ...]] = {
        "way": named_way(best),
        "both": shown(both[best]),
        "there": shown(there[best], ".0%"),
    }
    ahead: dict[str, Interval] = {}  # of each other way
    for pair, of in found["differences_of_both"].items():
        first, second = pair.split(" - ")
        if first == best:
            ahead[second] = as_interval(of)
        elif second == best:
            ahead[first] = negated(as_interval(of))
    if len(both) == 1:
        kind = "only"
    else:
        shown_ahead = sum(one.differs for one in ahead.values())
        kind = {len(both) - 1: "clear", 0: "tied"}.get(shown_ahead, "partly")
        values["pairs"] = tuple(
            Said("format.named", {"name": _pair(best, way), "value": shown(of)})
            for way, of in ahead.items()
        )
    said = [Said(f"p3.ways_{kind}", values)]
    none = [way for way, share in there.items() if share.value == 0]
    if none:
        said.append(Said("p3.ways_never", {"ways": named_ways(none), "n": str(found["pictures"])}))
    return tuple(said)


def named_way(way: str) -> str | Said:
    """A way as the page names it; one of another's making by its folder."""
    return Said(f"ways.{way}") if way in WAYS else way


def named_ways(ways: Iterable[str]) -> tuple[str | Said, ...]:
    """Several of them."""
    return tuple(map(named_way, ways))


def _pair(first: str, second: str) -> Said:
    """The difference of two ways, as the page names it."""
    return Said("format.difference", {"a": named_way(first), "b": named_way(second)})
