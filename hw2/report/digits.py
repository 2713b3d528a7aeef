"""Problem 1 from what its jobs left: sheets and reverse strips."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw2.data.layout import shown_name
from hw2.digits.drawing import read_digit_meta
from hw2.digits.folder import REVERSE, picture_path
from hw2.domains import DIGITS, DOMAINS
from hw2.errors import DataError
from hw2.locate import find_model
from hw2.metrics.intervals import Interval
from hw2.release import card_settings
from hw2.report.outputs import JobOutput
from hw2.report.parts import Cell, Grid, Sources, Table, number, sources
from hw2.report.pictures import Picture, picture, read_tiles, tiles
from hw2.report.sentences import EMPTY, Said, in_a_line, shown
from hw2.settings.digits import DiffusionConfig
from hw2.weights import read_meta
from hw2.yaml_text import read_yaml

SAMPLING = (
    "model",
    "sampler",
    "num_inference_steps",
    "eta",
    "guidance_weight",
    "guidance_interval",
    "precision",
)
NAMES = {"mnistm": "MNIST-M", "svhn": "SVHN", "svhn-style": "SVHN-style"}
SHOWN = 10  # pictures of a digit in a sheet
SCORES = {"accuracy": ".1%", "diversity": ".0%", "diversity_pixels": ".0%"}
DISTANCES = ("frechet_judge", "kernel_judge")


@dataclass(frozen=True)
class How:
    """How digits are trained and drawn, as far as the page tells it: by default as jobs do it."""

    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampler: str = "ddim"
    clip_x0: bool = True
    on_gpu: bool = False

    @property
    def weighting(self) -> str:
        """How timesteps are weighted: by drawing them, in the loss, or not at all."""
        return "none" if self.diffusion.min_snr_gamma is None else self.diffusion.timesteps


@dataclass(frozen=True)
class DigitSheets:
    """A 10x10 sheet a domain, their scores, and what was trained."""

    source: Sources
    grids: tuple[Grid, ...]
    scores: Table
    said: tuple[Said, ...]
    model: tuple[tuple[str, str], ...]
    how: How
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


def digit_sheets(job: JobOutput) -> DigitSheets:
    """The sheets of jobs.sample_digits."""
    columns = min(SHOWN, int(job.config["num_per_class"]))
    grids = []
    for domain in _domains(job):
        paths = [
            [picture_path(job.out, domain, digit, index) for index in range(1, columns + 1)]
            for digit in DIGITS
        ]
        made = tiles([read_tiles(row) for row in paths])
        grids.append(labelled(made, name_of(job, domain), columns))
    found = ["eval/accuracy", *(f"eval/accuracy/{domain}" for domain in _domains(job))]
    numbers = [shown(job.interval(key), ".1%") for key in found]
    each = tuple(
        f"{name_of(job, domain)} {text}"
        for domain, text in zip(_domains(job), numbers[1:], strict=True)
    )
    real = shown(job.interval("eval/accuracy_real"), ".1%")
    diversity = job.interval("eval/diversity")
    pixels = job.interval("eval/diversity_pixels")
    shares = {"share": shown(diversity, ".0%"), "pixels": shown(pixels, ".0%")}
    said = (
        Said("p1.sheets_accuracy", {"mean": numbers[0], "each": each, "real": real}),
        Said(f"p1.sheets_diversity_{_against_one(diversity)}", shares),
        Said("p1.sheets_calls", {"calls": f"{job.metric('eval/network_calls'):g}"}),
    )
    source = sources(job, keys=(*SAMPLING, "num_per_class", "judge"))
    count = str(int(job.metric("eval/accuracy", "n")))
    model, how = _trained(job)
    return DigitSheets(source, tuple(grids), _scores(job), said, model, how, count)


def reverse(job: JobOutput) -> Reverse:
    """The strips of jobs.sample_digits, whose states it keeps as OUT/reverse/DOMAIN_tNNNN.png."""
    strips = []
    for domain in _domains(job):
        paths = sorted((job.out / REVERSE).glob(f"{domain}_t*.png"), reverse=True)
        levels = [
            int(found[1]) for p in paths if (found := re.search(r"_t(\d{1,9})\.png$", p.name))
        ]
        if not paths or len(levels) < len(paths):
            raise DataError(
                f"{job.out / 'reverse'} has no states of {domain}: delete "
                f"{job.out / 'figures' / f'{domain}_reverse.png'}, and they are drawn again"
            )
        states = [picture(tile) for tile in read_tiles(paths)]
        strips.append(Strip(name_of(job, domain), tuple(zip(levels, states, strict=True))))
    return Reverse(sources(job, keys=SAMPLING), tuple(strips))


def _against_one(interval: Interval) -> str:
    if not math.isfinite(interval.low + interval.high):
        return "unknown"
    if interval.high < 1:
        return "less"
    return "more" if interval.low > 1 else "same"


def labelled(made: Picture, name: str, columns: int) -> Grid:
    """A sheet with the digits beside its rows and the noises above its columns."""
    about = Said("alt.digits", {"name": name, "columns": str(columns)})
    cols = tuple(f"{index:03d}" for index in range(1, columns + 1))
    return Grid(made, about, tuple(map(str, DIGITS)), cols, name)


def _scores(job: JobOutput) -> Table:
    rows = []
    for domain in _domains(job):
        row = [number(job.interval(f"eval/{key}/{domain}"), spec) for key, spec in SCORES.items()]
        row += [number(job.interval(f"eval/{key}/{domain}")) for key in DISTANCES]
        rows.append((Cell(name_of(job, domain)), *row))
    mean = [number(job.interval(f"eval/{key}"), spec) for key, spec in SCORES.items()]
    foot = ((Cell(Said("table.mean")), *mean, *[Cell(EMPTY)] * len(DISTANCES)),)
    keys = (*SCORES, *DISTANCES)
    columns = ("table.domain", *(f"score.{key}" for key in keys))
    return Table(columns, tuple(rows), foot if len(rows) > 1 else ())


def _trained(job: JobOutput) -> tuple[tuple[tuple[str, str], ...], How]:
    """The settings that the weights were trained with, as they say of themselves, and how."""
    weights = find_model(str(job.config["model"]))
    meta, (network, diffusion) = read_meta(weights), read_digit_meta(weights)
    found: dict[str, Any] = {**diffusion.model_dump(), "scale_shift": network.scale_shift}
    found |= {key: meta[key] for key in ("step", "seed") if key in meta}
    config = weights.with_name("config.yaml")  # released weights have a card instead
    settings = read_yaml(config) if config.is_file() else card_settings(weights.parent)
    trained = settings.get("train", {})
    for key in ("batch_size", "learning_rate"):
        if key in trained:
            found[key] = trained[key]
    on_gpu = settings.get("scaling", {}).get("use_gpu") is True
    how = How(diffusion, str(job.config["sampler"]), bool(job.config["clip_x0"]), on_gpu)
    return tuple((key, in_a_line(value)) for key, value in found.items()), how


def _domains(job: JobOutput) -> tuple[str, ...]:
    return tuple(domain for domain in DOMAINS if domain in job.config["domains"])


def name_of(job: JobOutput, domain: str) -> str:
    """What the page calls a domain."""
    name = shown_name(Path(job.config["data"]["root"]), domain)
    return NAMES.get(name, name)
