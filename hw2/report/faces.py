"""Problem 2 from what its jobs left: given faces, the eta sheet and slider, slerp and lerp."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw2.errors import DataError
from hw2.faces.report import eta_name, interpolation_names
from hw2.metrics.intervals import Interval
from hw2.report.chart import Chart, chart
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import Cell, Frame, Grid, Slider, Sources, Table, sources
from hw2.report.pictures import read_tiles, tiles
from hw2.report.sentences import EMPTY, Said, in_pairs, shown, trend
from hw2.report.trials import Trial, paired, read_trials
from hw2.sweeps.trial import CHUNK

SAMPLING = ("model", "num_inference_steps", "timestep_spacing", "eta", "clip_x0", "precision")
SLIDER = 10  # faces a frame, in rows of
PER_ROW = 5
SCORES = {"distance": "", "repeated": ".0%", "frechet": "", "mse": ""}
WAYS = ("slerp", "lerp")


@dataclass(frozen=True)
class GivenFaces:
    """The faces of the given noises, and how far they are from the given pictures."""

    source: Sources
    eta: str
    grid: Grid
    said: tuple[Said, ...]


@dataclass(frozen=True)
class EtaSheet:
    """Noises by eta in one grid."""

    source: Sources
    grid: Grid
    chart: Chart
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Interpolation:
    """Slerp over lerp, and what is measured along both."""

    source: Sources
    grid: Grid
    table: Table
    said: tuple[Said, ...]


def given_faces(job: JobOutput) -> GivenFaces:
    """The pictures of jobs.sample_faces, compared with the given ones where there are some."""
    names = sorted(path.stem for path in job.out.glob("*.png"))
    if not names:
        raise DataError(f"{job.out} has no pictures")
    made = read_tiles([job.out / f"{name}.png" for name in names])
    grid = Grid(
        tiles([made[i : i + SLIDER] for i in range(0, len(made), SLIDER)]),
        Said("alt.faces", {"first": names[0], "last": names[-1]}),
        cols=tuple(names) if len(names) <= SLIDER else (),
    )
    said = []
    if "mse" in job.metrics:
        kind = "passed" if job.metric("passed") else "failed"
        values = {
            "mse": shown(job.interval("mse")),
            "n": str(job.metric("compared")),
            "of": str(job.metric("pictures")),
            "worst": _plain(max(job.metric("mse_by_picture").values())),
            "mark": f"{job.metric('pass_mark'):g}",
        }
        said.append(Said(f"p2.given_{kind}", values))
    source = sources(job, keys=SAMPLING)
    return GivenFaces(source, f"{job.config['eta']:g}", grid, tuple(said))


def _plain(value: float) -> str:
    """Three digits without an exponent, as the other errors are written."""
    return np.format_float_positional(value, 3, unique=False, fractional=False, trim="-")


def eta_sheet(job: JobOutput) -> EtaSheet:
    """The grid of jobs.eta_sheet."""
    etas, noises = job.config["etas"], job.config["noises"]
    paths = [[job.out / f"{eta_name(noise, eta)}.png" for eta in etas] for noise in noises]
    grid = Grid(
        tiles([read_tiles(row) for row in paths]),
        Said(
            "alt.eta_sheet",
            {"noises": tuple(noises), "etas": tuple(f"{e:g}" for e in etas)},
        ),
        tuple(noises),
        tuple(f"η = {eta:g}" for eta in etas),
    )
    found = job.metric("distance_from_first_eta")
    apart = {eta: as_interval(found.get(f"{eta:g}")) for eta in sorted(etas)}
    curve = chart("score.distance_first", "η", [*apart], {"": [*apart.values()]})
    keys = tuple(key for key in SAMPLING if key != "eta")
    said = _said_of_distances(etas[0], apart, job.metric("added_to_the_eta_below"))
    return EtaSheet(sources(job, keys=(*keys, "etas")), grid, curve, said)


def _said_of_distances(
    first: float, apart: Mapping[float, Interval], added: Mapping[str, object]
) -> tuple[Said, ...]:
    """`apart`: how far each eta's faces are from those of the `first` column, by rising eta."""
    etas = [*apart]
    grown = list(
        itertools.takewhile(lambda eta: as_interval(added.get(f"{eta:g}")).low > 0, etas[1:])
    )
    kind = "rises" if len(grown) == len(etas) - 1 else "rises_to" if grown else "not_rises"
    each = tuple(
        Said("format.named", {"name": f"η = {eta:g}", "value": shown(interval)})
        for eta, interval in apart.items()
        if eta != first
    )
    ends = {"first": f"{first:g}", "last": f"{etas[-1]:g}"}
    if grown:
        ends["to"] = f"{grown[-1]:g}"
    values: Mapping[str, str | tuple[Said, ...]] = {"each": each, **ends}
    return (Said(f"p2.eta_{kind}", values),)


def interpolation(job: JobOutput) -> Interpolation:
    """The two rows of jobs.interpolate_faces."""
    count = int(job.config["num_alphas"])
    ways = {
        way: read_tiles([job.out / f"{name}.png" for name in interpolation_names(way, count)])
        for way in WAYS
    }
    alphas = tuple(f"{alpha:.2g}" for alpha in np.linspace(0, 1, count).tolist())
    first, second = str(job.config["first"]), str(job.config["second"])
    about = Said("alt.interpolation", {"first": first, "second": second})
    grid = Grid(tiles(list(ways.values())), about, WAYS, alphas)
    keys = (
        *("norm_at_the_ends", "norm_at_the_middle", "largest_step"),
        *("length_of_the_path", "contrast_at_the_middle"),
    )
    numbers = {way: {key: float(job.metric(way, key)) for key in keys} for way in WAYS}
    rows = tuple(
        (
            Cell(way),
            *(Cell(f"{numbers[way][key]:.1f}", numbers[way][key]) for key in keys),
        )
        for way in WAYS
    )
    table = Table(("table.way", *(f"p2.{key}" for key in keys)), rows)
    share = {way: of["norm_at_the_middle"] / of["norm_at_the_ends"] for way, of in numbers.items()}
    steps = {way: of["largest_step"] for way, of in numbers.items()}
    contrast = {way: of["contrast_at_the_middle"] for way, of in numbers.items()}
    said = (
        _compared("norm", share, ".2f"),
        _compared("contrast", contrast, ".1f"),
        _compared("jump", steps, ".1f"),
    )
    return Interpolation(sources(job, keys=("first", "second", *SAMPLING)), grid, table, said)


def _compared(what: str, of: Mapping[str, float], spec: str) -> Said:
    """How lerp's number stands to slerp's; within a fiftieth they count as the same."""
    lerp, slerp = of["lerp"], of["slerp"]
    order = "less" if lerp < slerp else "more"
    if abs(lerp - slerp) <= 0.02 * max(abs(lerp), abs(slerp)):
        order = "same"
    return Said(f"p2.{what}_{order}", {way: format(value, spec) for way, value in of.items()})


def eta_slider(job: JobOutput) -> Slider:
    """The sweep of jobs.tune_eta over eta."""
    trials, stopped = read_trials(job, "eta")
    frames, twice = [], CHUNK
    for trial in trials:
        images = trial.images(SLIDER)  # (samples, 3, h, w)
        if images.ndim != 4:
            raise DataError(f"{trial.folder}: want a picture a noise")
        faces = images.transpose(0, 2, 3, 1)
        rows = [faces[i : i + PER_ROW] for i in range(0, len(faces), PER_ROW)]
        grid = Grid(
            tiles(rows), Said("alt.eta_frame", {"n": str(len(faces)), "eta": f"{trial.at:g}"})
        )
        twice = min(CHUNK, len(images))
        scores = [
            (Said(f"score.{key}", {"n": str(twice)}), shown(trial.scores[key], spec))
            for key, spec in SCORES.items()
            if np.isfinite(trial.scores[key].value)
        ]
        frames.append(Frame(f"η = {trial.at:g}", (grid,), tuple(scores)))
    at = [trial.at for trial in trials]
    charts = tuple(
        chart(f"score.{key}", "η", at, {"": [trial.scores[key] for trial in trials]}, SCORES[key])
        for key in ("distance", "frechet")
        if any(np.isfinite(trial.scores[key].value) for trial in trials)
    )
    keys = (*(key for key in SAMPLING if key != "eta"), "samples")
    said = (*stopped, *_said_of_eta(job, trials, twice))
    return Slider(sources(job, keys=keys), tuple(frames), 0, charts, said)


def _said_of_eta(job: JobOutput, trials: Sequence[Trial], twice: int) -> tuple[Said, ...]:
    """`twice`: how many noises were drawn twice."""
    repeated = {trial.at: trial.scores["repeated"] for trial in trials}
    exact = [f"{at:g}" for at, share in repeated.items() if share.value == 1]
    rest = [f"{at:g}" for at, share in repeated.items() if share.value < 1]
    kind = "only_zero" if exact == ["0"] and rest else "other"
    listed: dict[str, str | tuple[str, ...]] = {"n": str(twice)}
    listed |= {"exact": tuple(exact) or EMPTY, "rest": tuple(rest) or EMPTY}
    said = [Said(f"p2.repeats_{kind}", listed)]
    first, last = trials[0], trials[-1]
    ends = (first.scores["frechet"], last.scores["frechet"])
    if all(np.isfinite(end.value) for end in ends):
        apart = paired(job, "frechet", first, last)
        values = {"from": shown(ends[0]), "to": shown(ends[1]), "apart": in_pairs(apart)}
        values |= {"first": f"{first.at:g}", "last": f"{last.at:g}"}
        said.append(Said(f"p2.frechet_{trend(*ends, apart)}", values))
    return tuple(said)
