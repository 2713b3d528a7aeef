"""What the page says of sheets of digits, and of how they were trained and drawn."""

import json
import re

import pytest
from torch import nn

from hw2.report.content import collect
from hw2.report.sentences import EMPTY
from hw2.settings.digits import DiffusionConfig, NetworkConfig
from hw2.weights import save_weights
from hw2.yaml_text import read_yaml
from tests.report.reading import Elements, changed, page
from tests.report.small_report import SmallReport, interval


def test_means_stand_below_their_columns(small: SmallReport) -> None:
    means = {"accuracy": 0.9, "diversity": 0.8, "diversity_pixels": 0.7}
    path = small.out / "samples/metrics.json"
    metrics = json.loads(path.read_text())
    for key, value in means.items():
        metrics[f"eval/{key}"] |= interval(value)
    path.write_text(json.dumps(metrics))
    scores = collect(small.all()).parts["sheets"].scores
    (foot,) = scores.foot
    told = dict(zip(scores.columns, (cell.order for cell in foot), strict=True))
    assert {key: told[f"score.{key}"] for key in means} == means


def test_what_has_no_limits_is_not_compared(small: SmallReport) -> None:
    path = small.out / "samples/metrics.json"
    bare = {"value": 6.63, "low": None, "high": None, "n": 40}
    changed(path, **{"eval/diversity": bare})
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert f"within a class is 663 % ({EMPTY}) of the real pictures'; in pixels it is 90 %" in text


def drawn_by(small: SmallReport, diffusion: DiffusionConfig, **settings: object) -> None:
    """Let the sheets be of other weights, or drawn otherwise."""
    network = NetworkConfig(patch=4, channels=(64,), attention=(False,))
    about = {"network": network.model_dump(), "diffusion": diffusion.model_dump()}
    weights = small.root / "weights.safetensors"
    save_weights(weights, {"ema": nn.Linear(1, 1)}, {"kind": "digit_ddpm", **about, "seed": 1})
    path = small.out / "samples/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"model": str(weights), **settings}))


@pytest.mark.parametrize(
    ("diffusion", "settings", "told", "untold"),
    [
        (
            DiffusionConfig(prediction_type="epsilon", timesteps="uniform", drop="digit"),
            {"sampler": "ddpm", "num_inference_steps": 1000},
            (
                *("prediction of the noise ε", "λ[t] * mean((net(xt, t, *c) - noise) ** 2)"),
                *(
                    "= 1 / T",
                    "else (null, domain)",
                    "t, null, domain)",
                    "ddpm_step(x0, eps, t, s)",
                ),
                *("through all T timesteps", "the digit becomes “null”", "is multiplied by their"),
            ),
            ("prediction v", "DDIM (Song", "∝ λ[t]", "null, null", "trained on a GPU"),
        ),
        (
            DiffusionConfig(min_snr_gamma=None, drop="separate"),
            {"sampler": "unipc", "clip_x0": False},
            ("prediction v", "all count alike", "each on its own", "by unipc, of", "unipc_step("),
            ("min-SNR", "λ", "x0 = clip(", "keep ="),
        ),
    ],
)
def test_the_implementation_is_told_as_it_was(
    small: SmallReport,
    diffusion: DiffusionConfig,
    settings: dict[str, object],
    told: tuple[str, ...],
    untold: tuple[str, ...],
) -> None:
    drawn_by(small, diffusion, **settings)
    (part,) = re.findall(r'<section id="p1">.*?<section id="p2">', page(collect(small.all())), re.S)
    text = " ".join(Elements(part.partition("<h3>2.")[0]).text.split())
    assert [words for words in told if words not in text] == []
    assert [words for words in untold if words in text] == []
    assert "scale_shift = false" in text


def test_by_default_the_implementation_is_that_of_the_released_weights(small: SmallReport) -> None:
    own = page(collect(small.all()))
    del small.results["samples"]
    without = page(collect(small.all()))
    gpu = "These weights were trained on a GPU"
    assert gpu in own and gpu not in without and "scale_shift = true" in own
    for words in ("DDIM (Song et al. 2021)", "its prediction v", "t is drawn in", "ddim_step("):
        assert words in own and words in without


def test_scores_of_the_sheets_are_each_in_its_place(small: SmallReport) -> None:
    found = {"accuracy": 0.91, "accuracy/mnistm": 0.92, "accuracy/svhn": 0.93}
    found |= {"accuracy_real": 0.97, "diversity": 0.85, "diversity_pixels": 0.75}
    scores = {f"eval/{key}": interval(value) | {"n": 40} for key, value in found.items()}
    changed(small.out / "samples/metrics.json", **scores)
    accuracy, diversity, _ = collect(small.all()).parts["sheets"].said
    assert (accuracy.values["mean"], accuracy.values["real"]) == (
        "91.0 % (89.0-93.0)",
        "97.0 % (95.0-99.0)",
    )
    want = ("MNIST-M 92.0 % (90.0-94.0)", "SVHN-style 93.0 % (91.0-95.0)")
    assert accuracy.values["each"] == want
    assert diversity.values == {"share": "85 % (83-87)", "pixels": "75 % (73-77)"}


def test_a_strip_goes_from_noise_to_picture(small: SmallReport) -> None:
    for strip in collect(small.all()).parts["reverse"].strips:
        assert [t for t, _ in strip.states] == [999, 800, 600, 400, 200, 0]
    for path in (small.out / "samples/reverse").glob("svhn_*.png"):
        path.unlink()
    assert "has no states of svhn: delete" in collect(small.all()).missing["reverse"].error


def test_diversity_is_more_or_less_where_the_limits_show_it(small: SmallReport) -> None:
    for value, width, kind in (
        (1.1, 0.05, "more"),
        (1.1, 0.2, "same"),
        (0.9, 0.05, "less"),
        (0.9, 0.2, "same"),
    ):
        found = interval(value, width) | {"n": 40}
        changed(small.out / "samples/metrics.json", **{"eval/diversity": found})
        said = collect(small.all()).parts["sheets"].said
        assert said[1].key == f"p1.sheets_diversity_{kind}"
