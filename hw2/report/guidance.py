"""The guidance slider from what its sweep left, and what came out of it."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hw2.domains import DIGITS, DOMAINS
from hw2.errors import DataError
from hw2.metrics.intervals import Interval
from hw2.report.chart import Chart, chart
from hw2.report.digits import SCORES, SHOWN, labelled, name_of
from hw2.report.outputs import JobOutput, as_interval
from hw2.report.parts import Frame, Slider, sources
from hw2.report.pictures import tiles
from hw2.report.sentences import Said, in_pairs, points, shown, size, trend
from hw2.report.trials import Trial, paired, read_trials

CHANCE = 1 / len(DIGITS)


def guidance_slider(job: JobOutput) -> Slider:
    """The sweep of jobs.tune_guidance over the weight."""
    everywhere = tuple(job.config["guidance_interval"]) == (0, 1)
    whole, stopped = read_trials(job, "guidance_weight")
    trials = [_without_limits(trial) if everywhere and trial.at == -1 else trial for trial in whole]
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
        scores: list[tuple[str | Said, str]] = [
            (f"score.{k}", _share(trial.scores[k], s)) for k, s in SCORES.items()
        ]
        for domain, name in zip(DOMAINS, names, strict=True):
            told = shown(trial.scores[f"frechet_judge/{domain}"])
            scores.append(("score.frechet_judge", f"{name} {told}"))
        frames.append(Frame(f"w = {trial.at:g}", tuple(grids), tuple(scores)))
    # The scores without labels are of another size: beside them all others look alike.
    guided = _guided(trials)
    drawn = guided if len(guided) > 1 else trials
    at = [trial.at for trial in drawn]

    def curve(title: str, keys: dict[str, str], spec: str) -> Chart:
        lines = {name: [trial.scores[key] for trial in drawn] for name, key in keys.items()}
        return chart(title, "w", at, lines, spec)

    domains = dict(zip(names, DOMAINS, strict=True))
    charts = (
        curve("score.accuracy", {n: f"accuracy/{d}" for n, d in domains.items()}, ".1%"),
        curve("score.diversity", {n: f"diversity/{d}" for n, d in domains.items()}, ".0%"),
        curve("score.frechet_judge", {n: f"frechet_judge/{d}" for n, d in domains.items()}, ""),
    )
    start = next((i for i, t in enumerate(trials) if t.point == job.metric("best", "point")), 0)
    drawing = ("model", "sampler", "num_inference_steps", "guidance_interval", "precision")
    left_out = [_left_out(trial, names) for trial in trials if trial not in drawn]
    said = (*stopped, *left_out, *_said_of_guidance(job, trials, names))
    return Slider(
        sources(job, keys=(*drawing, "samples", "judge")), tuple(frames), start, charts, said
    )


def _without_limits(trial: Trial) -> Trial:
    """An unconditional trial, where one in ten digits of a noise is read as meant by necessity."""
    scores = {
        key: Interval(value.value, value.value, value.value)
        if key.split("/")[0] == "accuracy" and math.isclose(value.value, CHANCE, rel_tol=1e-6)
        else value
        for key, value in trial.scores.items()
    }
    return dataclasses.replace(trial, scores=scores)


def _share(interval: Interval, spec: str) -> str:
    """A share, alone if it is what it must be."""
    exact = interval.low == interval.value == interval.high
    return f"{100 * interval.value:g} %" if exact else shown(interval, spec)


def _guided(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.at >= 0]


def _left_out(trial: Trial, names: Sequence[str]) -> Said:
    """The scores of a trial that the charts do not show."""
    distances = tuple(
        Said(
            "format.named", {"name": name, "value": shown(trial.scores[f"frechet_judge/{domain}"])}
        )
        for domain, name in zip(DOMAINS, names, strict=True)
    )
    values: dict[str, str | tuple[Said, ...]] = {
        "w": f"{trial.at:g}",
        "accuracy": _share(trial.scores["accuracy"], SCORES["accuracy"]),
        "diversity": shown(trial.scores["diversity"], SCORES["diversity"]),
        "pixels": shown(trial.scores["diversity_pixels"], SCORES["diversity_pixels"]),
        "distances": distances,
    }
    return Said("p1.w_left_out", values)


def _said_of_guidance(
    job: JobOutput, trials: Sequence[Trial], names: Sequence[str]
) -> tuple[Said, ...]:
    """What came out of the sweep, in sentences that the numbers choose."""
    guided = _guided(trials)
    pairs = [
        one
        for one in job.metric("differences")
        if one.get("metric") == "accuracy" and one["point"]["guidance_weight"] >= 0
    ]
    said = []
    if len(guided) > 1:
        # Paired differences say more of the same accuracies, and could seem to contradict them.
        if not pairs:
            said.append(_change(job, "accuracy", guided[0], guided[-1]))
        said.append(_change(job, "diversity", guided[0], guided[-1]))
        for domain, name in zip(DOMAINS, names, strict=True):
            said.append(_lowest(job, f"frechet_judge/{domain}", name, guided))
    if pairs:
        said += _most(pairs)
    unconditional = [trial for trial in trials if trial.at == -1]
    if unconditional and tuple(job.config["guidance_interval"]) == (0, 1):
        found = unconditional[0].scores["accuracy"]
        kind = "same" if found.low == found.high else "other"
        said.append(Said(f"p1.w_unconditional_{kind}", {"accuracy": _share(found, ".1%")}))
    return tuple(said)


def _most(pairs: Sequence[Mapping[str, Any]]) -> list[Said]:
    """The largest paired differences, of those that are shown if there are any.

    Weights that tie are all named, in a sentence for each change that the page tells apart.
    """
    found = [one for one in pairs if as_interval(one).differs]
    among = found or pairs
    largest = max(abs(one["value"]) for one in among)
    alike: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in among:
        if math.isclose(abs(one["value"]), largest, rel_tol=1e-6):  # float32 was averaged
            alike[points(as_interval(one))].append(one)
    said = []
    for gain, ones in alike.items():
        change = as_interval(ones[0])
        kind = ("higher" if change.value > 0 else "lower") if found else "unclear"
        values: dict[str, str | tuple[str, ...]] = {
            "w": tuple(f"{one['point']['guidance_weight']:g}" for one in ones),
            "base": f"{ones[0]['baseline']['guidance_weight']:g}",
            "gain": size(change) if found else gain,
            "n": str(ones[0]["n"]),
            "of": str(len(pairs)),
        }
        said.append(Said(f"p1.w_paired_{kind}{'' if len(pairs) > 1 else '_alone'}", values))
    return said


def _change(job: JobOutput, key: str, first: Trial, last: Trial) -> Said:
    apart = paired(job, key, first, last)
    values: dict[str, str | Said] = {
        "apart": in_pairs(apart, SCORES[key]),
        "from": shown(first.scores[key], SCORES[key]),
        "to": shown(last.scores[key], SCORES[key]),
        "first": f"{first.at:g}",
        "last": f"{last.at:g}",
    }
    if key == "diversity":  # in pixels it may go the other way
        for name, trial in (("pixels_from", first), ("pixels_to", last)):
            values[name] = shown(trial.scores["diversity_pixels"], SCORES["diversity_pixels"])
        pixels_apart = paired(job, "diversity_pixels", first, last)
        values["pixels_apart"] = in_pairs(pixels_apart, SCORES["diversity_pixels"])
    return Said(f"p1.w_{key}_{trend(first.scores[key], last.scores[key], apart)}", values)


def _lowest(job: JobOutput, key: str, name: str, trials: Sequence[Trial]) -> Said:
    """Where a distance is least: within the range, or at one of its ends, if limits show it."""
    found = [trial.scores[key].value for trial in trials]
    place = int(np.nanargmin(found)) if np.isfinite(found).any() else 0
    kind = {0: "first", len(trials) - 1: "last"}.get(place, "inside")
    least, ends = trials[place], {"first": trials[0], "last": trials[-1]}
    apart = {end: paired(job, key, least, trial) for end, trial in ends.items()}
    trends = [
        trend(least.scores[key], trial.scores[key], apart[end])
        for end, trial in ends.items()
        if trial is not least
    ]
    if any(one != "rises" for one in trends):
        kind = f"unclear_{kind}"
    values = {
        "name": name,
        "w": f"{least.at:g}",
        "least": shown(least.scores[key]),
        "first": f"{trials[0].at:g}",
        "at_first": shown(trials[0].scores[key]),
        "last": f"{trials[-1].at:g}",
        "at_last": shown(trials[-1].scores[key]),
        **{f"apart_{end}": in_pairs(of) for end, of in apart.items()},
    }
    return Said(f"p1.w_frechet_{kind}", values)
