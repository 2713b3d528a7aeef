"""Telling of drawn faces: sheets, errors, smoothness, metrics.json and MLflow."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from hw2.diffusion.interpolation import Interpolants, smoothness
from hw2.disclosure import warn
from hw2.faces.folder import read_drawn
from hw2.faces.ground_truth import squared_error
from hw2.figures.charts import Panel, panels
from hw2.figures.grid import sheet
from hw2.metrics.intervals import Interval, bootstrap
from hw2.metrics.table import format_table
from hw2.pixels import to_unit
from hw2.runlog.tracker import Tracker
from hw2.settings.faces import (
    PASS_MARK,
    EtaSheetConfig,
    InterpolateFacesConfig,
    SampleFacesConfig,
)

SHOWN = 5  # names in a warning
CELL = 96  # screen pixels of a picture, about
SHEET = 10  # pictures side by side


def scale_of(height: int) -> int:
    """By how much a picture is enlarged in a sheet."""
    return max(1, CELL // height)


def report_faces(
    config: SampleFacesConfig,
    names: Sequence[str],
    truth: Mapping[str, Tensor],
    tracker: Tracker,
) -> None:
    """A sheet of the drawn pictures, and their errors against `truth` where there is one."""
    images = read_drawn(names, tracker.out)
    known = [i for i, name in enumerate(names) if name in truth]
    errors: dict[str, float] = {}
    metrics: dict[str, object] = {"pictures": len(names)}
    if known:
        found = squared_error(images[known], torch.stack([truth[names[i]] for i in known]))
        errors = dict(zip((names[i] for i in known), found.tolist(), strict=True))
        mean = bootstrap(found, seed=config.seed)
        passed = all(error < PASS_MARK for error in errors.values())
        metrics |= {"mse": mean.to_json(), "pass_mark": PASS_MARK, "passed": passed}
        metrics |= {"compared": len(known), "mse_by_picture": errors}
        _print_errors(names, errors, mean, passed)
    tracker.log_table("mse", [{"picture": n, "mse": e} for n, e in errors.items()])
    _log_faces(config, names, images, errors, tracker)
    tracker.log_metrics(metrics)
    if known:
        tracker.log_summary({"eval/mse": mean})


def _print_errors(
    names: Sequence[str], errors: Mapping[str, float], mean: Interval, passed: bool
) -> None:
    if unknown := [name for name in names if name not in errors]:
        shown = ", ".join(f"{name}.png" for name in unknown[:SHOWN])
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        warn(f"among the given pictures there is no {shown}{more}: not compared")
    rows = [{"picture": n, "MSE on 0..255": f"{e:.3g}"} for n, e in errors.items()]
    print(format_table(rows))
    verdict = "passed" if passed else "NOT passed"
    of = f"{len(errors)} of {len(names)} pictures compared"
    print(f"{of}: mean {mean}; pass mark {PASS_MARK:g} for each: {verdict}")


def _log_faces(
    config: SampleFacesConfig,
    names: Sequence[str],
    images: Tensor,
    errors: Mapping[str, float],
    tracker: Tracker,
) -> None:
    """Sheets of ten pictures, each with its error if it has one."""
    title = f"eta={config.eta:g}, {config.num_inference_steps} steps"
    starts = range(0, len(names), SHEET)
    for number, start in enumerate(starts, start=1):
        labels = names[start : start + SHEET]
        notes = [f"MSE {errors[name]:.2f}" if name in errors else "" for name in labels]
        picture = sheet(
            images[None, start : start + SHEET],
            col_labels=labels,
            title=title,
            scale=scale_of(images.shape[-2]),
            notes=[notes] if errors else None,
        )
        _log(f"faces_{number}" if len(starts) > 1 else "faces", picture, tracker)


def report_etas(config: EtaSheetConfig, tracker: Tracker) -> None:
    """The grid of noises by eta, how far each is from the first column, and what an eta adds."""
    names = [[eta_name(noise, eta) for eta in config.etas] for noise in config.noises]
    rows = [read_drawn(row, tracker.out) for row in names]
    images = torch.stack(rows)
    apart = torch.stack([squared_error(row, row[:1].expand_as(row)).sqrt() for row in images])
    titles = [f"eta = {eta:g}" for eta in config.etas]
    notes = [[f"RMS {value:.1f}" for value in row.tolist()] for row in apart]
    title = f"{config.num_inference_steps} steps; RMS: distance from the first column, 0..255"
    scale = scale_of(images.shape[-2])
    picture = sheet(images, config.noises, titles, title, scale=scale, notes=notes)
    _log("eta_sheet", picture, tracker)
    means = {
        f"{eta:g}": bootstrap(apart[:, i], seed=config.seed) for i, eta in enumerate(config.etas)
    }
    order = sorted(range(len(config.etas)), key=config.etas.__getitem__)
    added = {  # in pairs: the rows are the same noises
        f"{config.etas[i]:g}": bootstrap(apart[:, i] - apart[:, j], seed=config.seed)
        for j, i in itertools.pairwise(order)
    }
    metrics = {
        "distance_from_first_eta": {k: v.to_json() for k, v in means.items()},
        "added_to_the_eta_below": {k: v.to_json() for k, v in added.items()},
    }
    table = [
        {
            "eta": k,
            "RMS distance, 0..255": str(v),
            "more than at the eta below": str(added.get(k, "")),
        }
        for k, v in means.items()
    ]
    print(format_table(table))
    tracker.log_metrics(metrics)
    tracker.log_summary({f"eval/distance/eta_{k}": v for k, v in means.items()})


def report_interpolation(
    config: InterpolateFacesConfig, between: Interpolants, tracker: Tracker
) -> None:
    """Slerp over lerp with norms, and how far each picture is from the next."""
    ways = {"slerp": between.slerp_norms, "lerp": between.lerp_norms}
    names = {way: interpolation_names(way, config.num_alphas) for way in ways}
    images = {way: read_drawn(names[way], tracker.out) for way in ways}
    alphas = [f"{alpha:.3g}" for alpha in between.alphas.tolist()]
    notes = [[f"norm {norm:.1f}" for norm in norms.tolist()] for norms in ways.values()]
    title = f"from noise {config.first} to {config.second}, alpha above; norm of the noise below"
    stacked = torch.stack(list(images.values()))
    scale = scale_of(stacked.shape[-2])
    picture = sheet(stacked, list(ways), alphas, title, scale=scale, notes=notes)
    _log("interpolation", picture, tracker)
    jumps = {way: smoothness(to_unit(x)) for way, x in images.items()}
    at = ((between.alphas[1:] + between.alphas[:-1]) / 2).tolist()
    lines = {way: [Interval(v, v, v) for v in jump.tolist()] for way, jump in jumps.items()}
    title = "Pixel-space smoothness: each picture against the next"
    curve = panels([Panel(title, "alpha", "RMS difference, 0..255", at, lines)])
    _log("smoothness", curve, tracker)
    middle = config.num_alphas // 2
    metrics = {
        way: {
            "norm_at_the_middle": float(ways[way][middle]),
            "norm_at_the_ends": float(ways[way][[0, -1]].mean()),
            "length_of_the_path": float(jumps[way].sum()),
            "largest_step": float(jumps[way].max()),
            "contrast_at_the_middle": float(images[way][middle].double().std(correction=0)),
        }
        for way in ways
    }
    rows = [{"way": way, **values} for way, values in metrics.items()]
    print(format_table(rows))
    tracker.log_metrics(metrics)
    flat = {f"eval/{w}/{k}": v for w, values in metrics.items() for k, v in values.items()}
    tracker.log_summary(flat)


def eta_name(noise: str, eta: float) -> str:
    """The stem of a picture of the eta sheet."""
    return f"{noise}_eta_{eta:.12g}"


def interpolation_names(way: str, num_alphas: int) -> list[str]:
    """The stems of the pictures along one way."""
    return [f"{way}_{i:02d}" for i in range(num_alphas)]


def _log(name: str, picture: Image.Image, tracker: Tracker) -> None:
    print(f"figure: {tracker.log_picture(name, picture)}")
