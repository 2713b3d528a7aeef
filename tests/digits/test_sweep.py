"""What a trial of the guidance sweep draws from which noise, and how it is scored."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hw2.diffusion.schedule import cosine_schedule
from hw2.digits.drawing import DigitModel, draw
from hw2.digits.judging import judge_pictures
from hw2.digits.sweep import GuidanceWork, shown
from hw2.metrics.digit_scores import score_digits
from hw2.metrics.jackknife import interval_of
from hw2.models.judge import build_judge
from hw2.settings.digits import SampleSettings
from tests.digits.test_drawing import Spy

SETTINGS, POINT = SampleSettings(num_inference_steps=2), {"guidance_weight": 1.0}


@pytest.fixture(scope="module")
def work() -> GuidanceWork:
    """An untrained judge, whose real pictures are of noise, and a network of no weights."""
    judge = build_judge(0).eval()
    digits, domains = torch.arange(80) % 10, torch.arange(80) // 40
    images = torch.randint(256, (80, 3, 28, 28), dtype=torch.uint8)
    real = judge_pictures(judge, images, digits, domains)
    model = DigitModel(Spy(), cosine_schedule(40), "epsilon", 10, 2, 28)
    return GuidanceWork(model, judge, real, SETTINGS, seed=3)


def test_a_sample_is_a_noise_of_all_digits_and_domains(work: GuidanceWork) -> None:
    found = work.draw(POINT, range(2, 4), lambda point: {})
    settings = SETTINGS.model_copy(update=POINT)
    for domain in (0, 1):
        drawn = draw(work.model, settings, domain=domain, indices=[3, 4], seed=3)
        for place in (0, 1):
            assert np.array_equal(found["images"][place, domain], drawn.images[:, place])
    assert found["network_calls"].tolist() == [drawn.num_network_calls] * 2


def test_scores_are_of_the_drawn_pictures_and_outcomes_of_each_noise(work: GuidanceWork) -> None:
    found = work.draw(POINT, range(5), lambda point: {})
    scores, outcomes = work.score(POINT, found)
    images = torch.from_numpy(found["images"])
    digits, domains = torch.arange(10).repeat(2), torch.arange(2).repeat_interleave(10)
    for place in range(5):
        own = judge_pictures(work.judge, images[place].flatten(0, 1), digits, domains)
        share = float((own.predictions == digits).float().mean())
        assert outcomes["accuracy"][place] == pytest.approx(share)
    labels = digits.repeat(5), domains.repeat(5)
    want = score_digits(judge_pictures(work.judge, images.flatten(0, 2), *labels), work.real)
    for key in ("accuracy", "diversity"):
        assert interval_of(scores[key]) == want.get(key)
        assert interval_of(scores[f"{key}/svhn"]) == want.get(key, "svhn")
    assert interval_of(scores["frechet_judge/mnistm"]) == want.get("frechet_judge", "mnistm")
    for key, domain in (("accuracy_real", "mean"), ("accuracy_real/svhn", "svhn")):
        assert scores[key] == want.get("accuracy_real", domain)  # what the judge itself is worth
    assert "accuracy_real" not in shown(Path()).metrics  # all trials are alike in it
    assert scores["network_calls"].value == found["network_calls"][0]
