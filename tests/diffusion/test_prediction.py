"""Targets and their readings: round trips, and diffusers' add_noise and get_velocity."""

import pytest
import torch
from diffusers import DDPMScheduler
from torch.testing import assert_close

from hw2.diffusion.prediction import PredictionType, add_noise, eps_of, target_of, x0_of
from hw2.diffusion.schedule import cosine_schedule, linear_schedule
from tests.diffusion.toy import in_float64

T = torch.tensor([0, 40, 99])
X0 = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
NOISE = torch.randn(X0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_round_trip(kind: PredictionType, make: type) -> None:
    a, s = make(100).signal_and_noise(T, X0)
    xt = add_noise(X0, NOISE, a, s)
    eps = eps_of(kind, target_of(kind, X0, NOISE, a, s), xt, a, s)
    assert_close(eps, NOISE)
    # At the cosine schedule's end the picture is 1e-4 of xt: eps is exact, x0 loses digits.
    assert_close(x0_of(eps, xt, a, s), X0, rtol=1e-7, atol=1e-9)


def test_equals_diffusers() -> None:
    schedule = cosine_schedule(100)
    theirs = in_float64(DDPMScheduler, schedule)
    a, s = schedule.signal_and_noise(T, X0)
    assert_close(add_noise(X0, NOISE, a, s), theirs.add_noise(X0, NOISE, T))
    assert_close(target_of("v_prediction", X0, NOISE, a, s), theirs.get_velocity(X0, NOISE, T))
    assert_close(target_of("epsilon", X0, NOISE, a, s), NOISE)
