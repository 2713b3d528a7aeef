"""What a sweep of eta, and a path between two noises, show on the released faces: four trends.

tests/diffusion/test_trends.py has the exact ones. Seeds are fixed, so that the answers are too.
"""

import itertools

import numpy as np
import pytest
import torch

from hw2.data.offline.faces import face_picture
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.interpolation import interpolants
from hw2.faces.drawing import draw_faces
from hw2.faces.loading import FaceModel, load_face_model, weights_file
from hw2.faces.sweep import EtaInputs, make_eta_work
from hw2.models.random_features import RandomFeatures
from hw2.pixels import to_unit
from hw2.settings.faces import EtaSettings, FaceSampling
from tests.measured.trials import Trials, apart, further, trials_of

pytestmark = pytest.mark.slow

NOISE = (Stream.START, 3, 32, 32)
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def real_faces() -> torch.Tensor:
    """400 of the pictures that the network was trained on."""
    pictures = np.stack([face_picture(0, index) for index in range(400)])
    return torch.from_numpy(pictures).movedim(-1, 1).contiguous()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Trials of twenty faces, against 400 real ones."""
    none = torch.empty(0, 3, 32, 32)
    inputs = EtaInputs(none, none.to(torch.uint8), real_faces(), {})
    work = make_eta_work(weights_file("asset:faces"), EtaSettings(), inputs, 0, "auto")(False)
    return trials_of(work, tmp_path_factory.mktemp("eta"), 20)


def test_5_eta_0_repeats_bit_for_bit(faces: Trials) -> None:
    assert faces(eta=0.0, num_inference_steps=10).scores["repeated"].value == 1
    assert faces(eta=0.5, num_inference_steps=10).scores["repeated"].value == 0


def test_6_distance_from_the_eta_0_picture_grows_with_eta(faces: Trials) -> None:
    found = [faces(eta=eta, num_inference_steps=10) for eta in ETAS]
    assert found[0].scores["distance"].value == 0
    for less, more in itertools.pairwise(found):
        assert apart(more, less, "distance").low > 0


@pytest.fixture(scope="module")
def model() -> FaceModel:
    """The released network."""
    return load_face_model(weights_file("asset:faces"))


def drawn(model: FaceModel, starts: torch.Tensor, steps: int, eta: float) -> torch.Tensor:
    """Faces -1..1 of the starting noises."""
    settings, chunks = FaceSampling(num_inference_steps=steps), torch.arange(len(starts)).split(10)
    told = {"eta": eta, "seed": 0, "precision": "auto"}
    parts = [draw_faces(model, starts[at], settings, indices=at.tolist(), **told) for at in chunks]
    return torch.cat(parts).clamp(-1, 1)


def test_7_distance_to_real_faces_rises_with_eta_and_falls_with_steps(model: FaceModel) -> None:
    features, starts = RandomFeatures(), CounterRandom(0, 0, range(100)).normal(*NOISE)
    real = features(to_unit(real_faces()))
    found = {
        (eta, steps): features(drawn(model, starts, steps, eta))
        for eta, steps in itertools.product((0.0, 1.0), (5, 10))
    }
    assert further(found[1.0, 10], found[0.0, 10], real).low > 0
    assert further(found[1.0, 5], found[1.0, 10], real).low > 0
    assert further(found[0.0, 5], found[0.0, 10], real).low > 0


def test_9_half_way_lerp_is_too_short_and_its_faces_further_from_real_ones(
    model: FaceModel,
) -> None:
    noises = CounterRandom(0, 0, range(80)).normal(*NOISE)
    pairs = [interpolants(noises[2 * i], noises[2 * i + 1], 3) for i in range(40)]
    for pair in pairs:
        ends = float(pair.slerp_norms[[0, 2]].mean())
        assert float(pair.slerp_norms[1]) / ends == pytest.approx(1, abs=0.01)
        assert float(pair.lerp_norms[1]) / ends == pytest.approx(0.5**0.5, abs=0.03)
    features, found = RandomFeatures(), {}
    for way in ("slerp", "lerp"):
        middles = torch.stack([getattr(pair, way)[1] for pair in pairs])
        found[way] = features(drawn(model, middles, 10, eta=0))
    real = features(to_unit(real_faces()))
    assert further(found["lerp"], found["slerp"], real).low > 0
