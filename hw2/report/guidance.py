"""The guidance slider from what its sweep left, and what came out of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hw2.domains import DIGITS, DOMAINS
from hw2.errors import DataError
from hw2.report.digits import DISTANCES, SCORES, SHOWN, labelled, name_of
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import Chart, Frame, Said, Sources, chart, number, points, sources, trend
from hw2.report.pictures import tiles
from hw2.report.trials import Trial, read_trials


@dataclass(frozen=True)
class GuidanceSlider:
    """Sheets over the guidance weight, with curves and what they show."""

    source: Sources
    frames: tuple[Frame, ...]
    start: int
    charts: tuple[Chart, ...]
    said: tuple[Said, ...]


def guidance_slider(job: JobOutput) -> GuidanceSlider:
    """The sweep of jobs.tune_guidance over the weight."""
    trials = read_trials(job, "guidance_weight")
    names = [name_of(job, domain) for domain in DOMAINS]
    frames = []
    for trial in trials:
        images = trial.images(SHOWN)  # (samples, domains, digits, 3, h, w)
        if images.ndim != 6:
            raise DataError(f"{trial.folder}: want pictures by sample, domain and digit")
        grids = []
        for place, name in enumerate(names):
            rows = images[:, place].transpose(1, 0, 3, 4, 2)  # digits, samples, h, w, 3
            grids.append(labelled(tiles(list(rows)), name, len(images)))
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
