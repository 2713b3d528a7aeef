"""Problem 1 from what its jobs left: sheets, reverse strips, the guidance slider."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hw2.checkpoint import read_meta
from hw2.data.layout import shown_name
from hw2.domains import DIGITS, DOMAINS
from hw2.errors import DataError
from hw2.locate import find_model
from hw2.metrics.intervals import Interval
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import (
    EMPTY,
    Cell,
    Chart,
    Frame,
    Grid,
    Said,
    Sources,
    Table,
    chart,
    number,
    points,
    sources,
    trend,
)
from hw2.report.pictures import Picture, picture, read_tiles, tiles
from hw2.report.trials import Trial, read_trials
from hw2.yaml_text import read_yaml

SAMPLING = (
    "model",
    "sampler",
    "num_inference_steps",
    "eta",
    "guidance_weight",
    "guidance_interval",
)
NAMES = {"mnistm": "MNIST-M", "svhn": "SVHN", "svhn-style": "SVHN-style"}
SHOWN = 10  # pictures of a digit in a sheet
SCORES = {"accuracy": ".1%", "diversity": ".0%", "diversity_pixels": ".0%"}
DISTANCES = ("frechet_judge", "kernel_judge")


@dataclass(frozen=True)
class DigitSheets:
    """A 10x10 sheet a domain, their scores, and what was trained."""

    source: Sources
    grids: tuple[Grid, ...]
    scores: Table
    said: tuple[Said, ...]
    model: tuple[tuple[str, str], ...]
    count: str


@dataclass(frozen=True)
class Strip:
    """States of the reverse process of a domain's first 0, by timestep."""

    title: str
    states: tuple[tuple[int, Picture], ...]


@dataclass(frozen=True)
class Reverse:
    """A strip a domain."""

    source: Sources
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class GuidanceSlider:
    """Sheets over the guidance weight, with curves and what they show."""

    source: Sources
    frames: tuple[Frame, ...]
    start: int
    charts: tuple[Chart, ...]
    said: tuple[Said, ...]


def digit_sheets(job: JobOutput) -> DigitSheets:
    """The sheets of jobs.sample_digits."""
    columns = min(SHOWN, int(job.config["num_per_class"]))
    grids = []
    for domain in _domains(job):
        paths = [
            [job.out / domain / f"{digit}_{index:03d}.png" for index in range(1, columns + 1)]
            for digit in DIGITS
        ]
        made = tiles([read_tiles(row) for row in paths])
        grids.append(_sheet(made, _name(job, domain), columns))
    found = ["eval/accuracy", *(f"eval/accuracy/{domain}" for domain in _domains(job))]
    numbers = [format(job.interval(key), ".1%") for key in found]
    each = ", ".join(
        f"{_name(job, domain)} {text}"
        for domain, text in zip(_domains(job), numbers[1:], strict=True)
    )
    real = format(job.interval("eval/accuracy_real"), ".1%")
    diversity = job.interval("eval/diversity")
    said = (
        Said("p1.sheets_accuracy", {"mean": numbers[0], "each": each, "real": real}),
        Said(f"p1.sheets_diversity_{_against_one(diversity)}", {"share": format(diversity, ".0%")}),
        Said("p1.sheets_calls", {"calls": f"{job.metric('network calls a picture'):g}"}),
    )
    shown = sources(job, keys=(*SAMPLING, "num_per_class", "judge"))
    count = str(int(job.metric("eval/accuracy", "n")))
    return DigitSheets(shown, tuple(grids), _scores(job), said, _trained(job), count)


def reverse(job: JobOutput) -> Reverse:
    """The strips of jobs.sample_digits, whose states it keeps as OUT/reverse/DOMAIN_tNNNN.png."""
    strips = []
    for domain in _domains(job):
        paths = sorted((job.out / "reverse").glob(f"{domain}_t*.png"), reverse=True)
        levels = [
            int(found[1]) for p in paths if (found := re.search(r"_t(\d{1,9})\.png$", p.name))
        ]
        if not paths or len(levels) < len(paths):
            raise DataError(
                f"{job.out / 'reverse'} has no states of {domain}: delete "
                f"{job.out / 'figures' / f'{domain}_reverse.png'}, and they are drawn again"
            )
        states = [picture(tile) for tile in read_tiles(paths)]
        strips.append(Strip(_name(job, domain), tuple(zip(levels, states, strict=True))))
    return Reverse(sources(job, keys=SAMPLING), tuple(strips))


def guidance_slider(job: JobOutput) -> GuidanceSlider:
    """The sweep of jobs.tune_guidance over the weight."""
    trials = read_trials(job, "guidance_weight")
    names = [_name(job, domain) for domain in DOMAINS]
    frames = []
    for trial in trials:
        images = trial.images(SHOWN)  # (samples, domains, digits, 3, h, w)
        if images.ndim != 6:
            raise DataError(f"{trial.folder}: want pictures by sample, domain and digit")
        grids = []
        for place, name in enumerate(names):
            rows = images[:, place].transpose(1, 0, 3, 4, 2)  # digits, samples, h, w, 3
            grids.append(_sheet(tiles(list(rows)), name, len(images)))
        scores = [(f"score.{k}", number(trial.scores[k], s).text) for k, s in SCORES.items()]
        for key in DISTANCES[:1]:
            for domain, name in zip(DOMAINS, names, strict=True):
                told = format(trial.scores[f"{key}/{domain}"], "")
                scores.append((f"score.{key}", f"{name} {told}"))
        frames.append(Frame(f"w = {trial.at:g}", tuple(grids), tuple(scores)))
    at = [trial.at for trial in trials]

    def curve(title: str, keys: dict[str, str], spec: str) -> Chart:
        lines = {name: [trial.scores[key] for trial in trials] for name, key in keys.items()}
        return chart(title, "w", at, lines, spec)

    domains = dict(zip(names, DOMAINS, strict=True))
    charts = (
        curve("score.accuracy", {n: f"accuracy/{d}" for n, d in domains.items()}, ".1%"),
        curve("score.diversity", {n: f"diversity/{d}" for n, d in domains.items()}, ".0%"),
        curve("score.frechet_judge", {n: f"frechet_judge/{d}" for n, d in domains.items()}, ""),
    )
    start = next((i for i, t in enumerate(trials) if t.point == job.metric("best", "point")), 0)
    keys = ("model", "sampler", "num_inference_steps", "guidance_interval", "samples", "judge")
    said = _said_of_guidance(job, trials, names)
    return GuidanceSlider(sources(job, keys=keys), tuple(frames), start, charts, said)


def _said_of_guidance(
    job: JobOutput, trials: Sequence[Trial], names: Sequence[str]
) -> tuple[Said, ...]:
    """What came out of the sweep, in sentences that the numbers choose."""
    guided = [trial for trial in trials if trial.at >= 0]
    said = []
    if len(guided) > 1:
        first, last = guided[0], guided[-1]
        said += [
            _change("p1.w", key, spec, first, last)
            for key, spec in SCORES.items()
            if key != "diversity_pixels"
        ]
        for domain, name in zip(DOMAINS, names, strict=True):
            said.append(_lowest(f"frechet_judge/{domain}", name, guided))
    paired = [
        one
        for one in job.metric("differences")
        if one.get("metric") == "accuracy" and one["point"]["guidance_weight"] > 0
    ]
    if paired:
        best = max(paired, key=lambda one: one["value"])
        interval = as_interval(best)
        kind = "clear" if interval.low > 0 or interval.high < 0 else "unclear"
        values = {
            "w": f"{best['point']['guidance_weight']:g}",
            "base": f"{best['baseline']['guidance_weight']:g}",
            "gain": points(interval),
            "n": str(best["n"]),
        }
        said.append(Said(f"p1.w_paired_{kind}", values))
    unconditional = [trial for trial in trials if trial.at == -1]
    if unconditional:
        found = unconditional[0].scores["accuracy"]
        kind = "chance" if found.low <= 1 / len(DIGITS) <= found.high else "not_chance"
        values = {"accuracy": format(found, ".1%"), "chance": f"{100 / len(DIGITS):g} %"}
        said.append(Said(f"p1.w_unconditional_{kind}", values))
    return tuple(said)


def _change(stem: str, key: str, spec: str, first: Trial, last: Trial) -> Said:
    values = {
        "from": format(first.scores[key], spec),
        "to": format(last.scores[key], spec),
        "first": f"{first.at:g}",
        "last": f"{last.at:g}",
    }
    return Said(f"{stem}_{key}_{trend(first.scores[key], last.scores[key])}", values)


def _lowest(key: str, name: str, trials: Sequence[Trial]) -> Said:
    """Where a distance is least: within the range, or at one of its ends."""
    found = [trial.scores[key].value for trial in trials]
    place = int(np.nanargmin(found)) if np.isfinite(found).any() else 0
    kind = {0: "first", len(trials) - 1: "last"}.get(place, "inside")
    values = {
        "name": name,
        "w": f"{trials[place].at:g}",
        "least": format(trials[place].scores[key], ""),
        "first": f"{trials[0].at:g}",
        "at_first": format(trials[0].scores[key], ""),
        "last": f"{trials[-1].at:g}",
        "at_last": format(trials[-1].scores[key], ""),
    }
    return Said(f"p1.w_frechet_{kind}", values)


def _against_one(interval: Interval) -> str:
    if interval.high < 1:
        return "less"
    return "more" if interval.low > 1 else "same"


def _sheet(made: Picture, name: str, columns: int) -> Grid:
    about = Said("alt.digits", {"name": name, "columns": str(columns)})
    cols = tuple(f"{index:03d}" for index in range(1, columns + 1))
    return Grid(made, about, tuple(map(str, DIGITS)), cols, name)


def _scores(job: JobOutput) -> Table:
    rows = []
    for domain in _domains(job):
        row = [number(job.interval(f"eval/{key}/{domain}"), spec) for key, spec in SCORES.items()]
        row += [number(job.interval(f"eval/{key}/{domain}")) for key in DISTANCES]
        rows.append((Cell(_name(job, domain)), *row))
    mean = [number(job.interval(f"eval/{key}"), spec) for key, spec in SCORES.items()]
    if len(rows) > 1:
        rows.append((Cell("table.mean"), *mean, *[Cell(EMPTY)] * len(DISTANCES)))
    keys = (*SCORES, *DISTANCES)
    return Table(("table.domain", *(f"score.{key}" for key in keys)), tuple(rows))


def _trained(job: JobOutput) -> tuple[tuple[str, str], ...]:
    """How the weights were trained, as they say of themselves."""
    weights = find_model(str(job.config["model"]))
    found: dict[str, Any] = dict(read_meta(weights).get("diffusion", {}))
    card = weights.with_name("config.yaml")
    trained = read_yaml(card).get("train", {}) if card.is_file() else {}
    for key in ("num_steps", "batch_size", "learning_rate"):
        if key in trained:
            found[key] = trained[key]
    return tuple(
        (key, f"{value:g}" if isinstance(value, float) else str(value))
        for key, value in found.items()
    )


def _domains(job: JobOutput) -> tuple[str, ...]:
    return tuple(domain for domain in DOMAINS if domain in job.config["domains"])


def _root(job: JobOutput) -> Path:
    return Path(job.config["data"]["root"])


def _name(job: JobOutput, domain: str) -> str:
    """What the page calls a domain."""
    name = shown_name(_root(job), domain)
    return NAMES.get(name, name)
