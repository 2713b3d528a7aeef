"""The nine trends of a sweep, measured on the released weights; tests/diffusion has the exact ones.

Each claim is of an interval: of a paired difference where the same noises were drawn twice, of a
distance otherwise. Seeds are fixed, so that the answers are too.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hw2.data.offline.faces import face_picture
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.interpolation import interpolants
from hw2.diffusion.samplers import sample
from hw2.digits.drawing import load_digit_model
from hw2.digits.judging import judge_pictures, load_judge
from hw2.digits.reading import read_digits
from hw2.digits.sweep import make_guidance_work
from hw2.faces.drawing import draw_faces
from hw2.faces.loading import load_face_model, weights_file
from hw2.faces.sweep import EtaInputs, make_eta_work
from hw2.locate import find_model
from hw2.metrics.frechet import frechet_distance
from hw2.metrics.intervals import Interval, bootstrap, half_sampling
from hw2.models.random_features import RandomFeatures
from hw2.precision import wants_bf16
from hw2.settings.data import DataConfig
from hw2.settings.digits import SampleSettings
from hw2.settings.faces import EtaSettings, FaceSampling
from hw2.sweeps.trial import TrialResult, Work, read_trial, run_trial

pytestmark = pytest.mark.slow

WEIGHTS = (-1.0, 0.0, 0.5, 2.0, 6.0)
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
Trials = Callable[..., TrialResult]


def trials_of(work: Work, out: Path, samples: int) -> Trials:
    """Runs the trial at a point, or finds it."""

    def trial(**point: object) -> TrialResult:
        for _ in run_trial(work, out, point, [samples]):
            pass
        return read_trial(out, point)

    return trial


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, digits_tree: Path) -> Trials:
    """Trials of ten noises, 200 pictures each, guided everywhere."""
    settings = SampleSettings(num_inference_steps=10, guidance_interval=(0.0, 1.0))
    files = find_model("asset:digits"), find_model("asset:judge")
    work = make_guidance_work(*files, DataConfig(root=digits_tree), settings, 0)(False)
    return trials_of(work, tmp_path_factory.mktemp("guidance"), 10)


def real_faces() -> torch.Tensor:
    """400 of the pictures that the network was trained on."""
    pictures = np.stack([face_picture(0, index) for index in range(400)])
    return torch.from_numpy(pictures).movedim(-1, 1).contiguous()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Trials of a hundred faces, against 400 real ones."""
    none = torch.empty(0, 3, 32, 32)
    inputs = EtaInputs(none, none.to(torch.uint8), real_faces(), {})
    work = make_eta_work(weights_file("asset:faces"), EtaSettings(), inputs, 0, "auto")(False)
    return trials_of(work, tmp_path_factory.mktemp("eta"), 100)


def apart(a: TrialResult, b: TrialResult, outcome: str) -> Interval:
    """The mean of a's outcome less b's, on the same noises."""
    difference = torch.from_numpy(a.outcomes[outcome]) - torch.from_numpy(b.outcomes[outcome])
    return bootstrap(torch.mean, difference.double(), seed=0)


def further(a: torch.Tensor, b: torch.Tensor, real: torch.Tensor) -> Interval:
    """How much further from `real` the features `a` are than `b`, of pictures of the same noises.

    The Frechet distances of the same halves of both are subtracted.
    """

    def difference(pair: torch.Tensor, real: torch.Tensor) -> float:
        return frechet_distance(pair[:, 0], real) - frechet_distance(pair[:, 1], real)

    return half_sampling(difference, torch.stack([a, b], 1), real, seed=0)


def images_of(trial: TrialResult) -> np.ndarray:
    """What a trial has drawn."""
    chunks = sorted(trial.folder.glob("chunk_*.npz"))
    return np.concatenate([np.load(path)["images"] for path in chunks])


def test_1_accuracy_does_not_fall_as_w_grows(digits: Trials) -> None:
    found = [digits(guidance_weight=w) for w in WEIGHTS]
    for before, after in itertools.pairwise(found):
        assert apart(after, before, "accuracy").high >= 0
    assert apart(found[3], found[1], "accuracy").low > 0


def test_2_the_distance_to_real_digits_is_least_at_a_small_w(
    digits: Trials, digits_tree: Path
) -> None:
    """On MNIST-M; by the difference of two distances, over the same halves of both.

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
    assert further(drawn[6.0], drawn[0.5], real).low > 0


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


def test_5_eta_0_repeats_bit_for_bit(faces: Trials) -> None:
    for steps in (10, 20):
        assert faces(eta=0.0, num_inference_steps=steps).scores["repeated"].value == 1
    assert faces(eta=0.5, num_inference_steps=10).scores["repeated"].value == 0


def test_6_distance_from_the_eta_0_picture_grows_with_eta(faces: Trials) -> None:
    found = [faces(eta=eta, num_inference_steps=10) for eta in ETAS]
    assert found[0].scores["distance"].value == 0
    for less, more in itertools.pairwise(found):
        assert apart(more, less, "distance").low > 0


def test_7_distance_to_real_faces_rises_with_eta_and_falls_with_steps(faces: Trials) -> None:
    features = RandomFeatures()
    real = features(real_faces().float() / 127.5 - 1)
    found = {}
    for eta, steps in itertools.product((0.0, 1.0), (10, 20)):
        images = torch.from_numpy(images_of(faces(eta=eta, num_inference_steps=steps)))
        found[eta, steps] = features(images.float() / 127.5 - 1)
    assert further(found[1.0, 10], found[0.0, 10], real).low > 0
    assert further(found[1.0, 10], found[1.0, 20], real).low > 0
    assert further(found[0.0, 10], found[0.0, 20], real).low > 0


def test_8_eta_1_with_all_steps_is_ancestral_sampling() -> None:
    """To within the two variances that ancestral sampling may take (Ho et al. 2020, sec. 3.2)."""
    model = load_digit_model(find_model("asset:digits"))
    total, shape = model.schedule.num_train_timesteps, (3, 28, 28)
    digit = torch.tensor([3, 8])
    start = CounterRandom(0, 0, range(2)).normal(Stream.START, *shape)

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
            lambda t: CounterRandom(0, t, range(2)).normal(Stream.ANCESTRAL, *shape),
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


def test_9_half_way_lerp_is_too_short_and_its_faces_further_from_real_ones() -> None:
    noises = CounterRandom(0, 0, range(80)).normal(Stream.START, 3, 32, 32)
    pairs = [interpolants(noises[2 * i], noises[2 * i + 1], 3) for i in range(40)]
    for pair in pairs:
        ends = float(pair.slerp_norms[[0, 2]].mean())
        assert float(pair.slerp_norms[1]) / ends == pytest.approx(1, abs=0.01)
        assert float(pair.lerp_norms[1]) / ends == pytest.approx(0.5**0.5, abs=0.03)
    model, features = load_face_model("asset:faces"), RandomFeatures()
    found = {}
    for way in ("slerp", "lerp"):
        middles = torch.stack([getattr(pair, way)[1] for pair in pairs])
        steps = FaceSampling(num_inference_steps=10)
        pictures = draw_faces(
            model, middles, steps, eta=0, seed=0, indices=range(40), precision="auto"
        )
        found[way] = features(pictures.clamp(-1, 1))
    real = features(real_faces().float() / 127.5 - 1)
    assert further(found["lerp"], found["slerp"], real).low > 0
