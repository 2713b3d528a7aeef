"""What a sweep of the guidance weight shows on the released digits: five of the nine trends.

tests/diffusion/test_trends.py has the exact ones. Seeds are fixed, so that the answers are too.
"""

import itertools
from pathlib import Path

import pytest
import torch

from hw2.data.digits import read_digits
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.samplers import sample
from hw2.digits.drawing import load_digit_model
from hw2.digits.judging import judge_pictures, load_judge
from hw2.digits.sweep import make_guidance_work
from hw2.locate import find_model
from hw2.metrics.frechet import frechet_distance
from hw2.precision import wants_bf16
from hw2.settings.data import DataConfig
from hw2.settings.digits import SampleSettings
from tests.measured.trials import Trials, apart, further, images_of, trials_of

pytestmark = pytest.mark.slow

WEIGHTS = (-1.0, 0.0, 0.5, 2.0, 6.0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, digits_tree: Path) -> Trials:
    """Trials of ten noises, 200 pictures each, guided everywhere."""
    settings = SampleSettings(num_inference_steps=10, guidance_interval=(0.0, 1.0))
    files = find_model("asset:digits"), find_model("asset:judge")
    work = make_guidance_work(*files, DataConfig(root=digits_tree), settings, 0)(False)
    return trials_of(work, tmp_path_factory.mktemp("guidance"), 10)


def test_1_accuracy_does_not_fall_as_w_grows(digits: Trials) -> None:
    found = [digits(guidance_weight=w) for w in WEIGHTS]
    for before, after in itertools.pairwise(found):
        assert apart(after, before, "accuracy").high >= 0
    assert apart(found[3], found[1], "accuracy").low > 0


def test_the_defaults_keep_accuracy_and_diversity_at_once(
    digits_tree: Path, tmp_path: Path
) -> None:
    """What the released weights are to have at w=2, with at most 50 network calls a picture."""
    files = find_model("asset:digits"), find_model("asset:judge")
    work = make_guidance_work(*files, DataConfig(root=digits_tree), SampleSettings(), 0)(False)
    scores = trials_of(work, tmp_path, 20)(guidance_weight=2.0).scores
    assert scores["accuracy"].value >= 0.97
    assert scores["diversity"].value >= 0.9
    assert scores["network_calls"].value <= 50


def test_2_the_distance_to_real_digits_is_least_at_a_small_w(
    digits: Trials, digits_tree: Path
) -> None:
    """On MNIST-M; by the difference of two distances, over the same noises of both.

    On the SVHN-style digits all weights from 0.5 on are alike to within the interval.
    """
    judge = load_judge(find_model("asset:judge"))
    val = read_digits(DataConfig(root=digits_tree), "val", 28)
    mnistm = val.domains == 0

    def features(images: torch.Tensor) -> torch.Tensor:
        none = torch.zeros(len(images), dtype=torch.int64)
        return judge_pictures(judge, images, none, none).features

    real = features(val.images[mnistm])
    drawn = {
        w: features(torch.from_numpy(images_of(digits(guidance_weight=w)))[:, 0].flatten(0, 1))
        for w in WEIGHTS[1:]
    }
    distance = {w: frechet_distance(found, real) for w, found in drawn.items()}
    assert min(distance, key=lambda w: distance[w]) == 0.5
    classes = torch.arange(10).repeat(len(drawn[0.5]) // 10), val.digits[mnistm]
    assert further(drawn[6.0], drawn[0.5], real, classes).low > 0


def test_3_diversity_inside_a_class_falls_as_w_grows(digits: Trials) -> None:
    found = [digits(guidance_weight=w).scores["diversity"] for w in WEIGHTS]
    values = [diversity.value for diversity in found[:4]]
    assert values == sorted(values, reverse=True)
    # At w=6 ten steps overshoot, and the judge sees that as diversity; less than without guidance.
    assert found[-1].high < found[0].low
    assert found[-1].high < found[1].low


def test_4_w_0_is_the_conditional_model_and_w_minus_1_the_unconditional(digits: Trials) -> None:
    conditional, unconditional = digits(guidance_weight=0.0), digits(guidance_weight=-1.0)
    assert conditional.scores["network_calls"].value == 10
    images = images_of(unconditional)  # (noises, domains, digits, 3, h, w)
    assert (images == images[:, :1, :1]).all()  # nothing that was asked for is seen
    assert unconditional.scores["accuracy"].high < 0.3 < conditional.scores["accuracy"].low
    labelled = images_of(conditional)
    assert (labelled != labelled[:, :1, :1]).mean() > 0.5


def test_8_eta_1_with_all_steps_is_ancestral_sampling() -> None:
    """To within the two variances that ancestral sampling may take (Ho et al. 2020, sec. 3.2)."""
    model = load_digit_model(find_model("asset:digits"))
    total, shape = model.schedule.num_train_timesteps, (3, 28, 28)
    digit = torch.tensor([3])
    start = CounterRandom(0, 0, [0]).normal(Stream.START, *shape)

    def ends(sampler: str, steps: int, eta: float) -> torch.Tensor:
        denoise = GuidedDenoiser(
            model.net,
            model.schedule,
            Guidance(0),
            model.prediction_type,
            *model.branches(digit, torch.zeros_like(digit)),
        )
        *_, end = sample(
            sampler,
            denoise,
            model.schedule,
            start,
            lambda t: CounterRandom(0, t, [0]).normal(Stream.ANCESTRAL, *shape),
            num_inference_steps=steps,
            eta=eta,
        )
        return end.xt

    bf16 = wants_bf16("auto", model.device)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        ancestral, eta_1 = ends("ddpm", total, 0), ends("ddim", total, 1)
        eta_0 = ends("ddim", 50, 0)
    near, far = ((x - ancestral).square().flatten(1).mean(1).sqrt() for x in (eta_1, eta_0))
    print(near, far)
    assert bool((near < far / 4).all())
