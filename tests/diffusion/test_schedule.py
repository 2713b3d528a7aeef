"""Schedules against diffusers (float32 tables) and against their formulas in NumPy (float64)."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch.testing import assert_close

from hw2.diffusion.schedule import (
    cosine_schedule,
    linear_schedule,
    make_schedule,
    scaled_linear_schedule,
    schedule_of_betas,
)
from hw2.errors import ConfigError


@pytest.mark.parametrize("total", [1, 50, 400, 1000])
@pytest.mark.parametrize(
    ("kind", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")]
)
def test_equals_diffusers(kind: str, theirs: str, total: int) -> None:
    ours = make_schedule(kind, total)
    scheduler = DDPMScheduler(num_train_timesteps=total, beta_schedule=theirs)
    assert_close(ours.betas.float(), scheduler.betas, rtol=2e-6, atol=1e-7)
    # A float32 product of up to 1,000 factors.
    assert_close(ours.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-4, atol=1e-9)


def test_scaled_linear_is_that_of_stable_diffusion() -> None:
    theirs = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    assert_close(scaled_linear_schedule(1000).betas.float(), theirs.betas)
    assert_close(
        scaled_linear_schedule(3, 0.1, 0.1).betas, torch.full((3,), 0.1, dtype=torch.float64)
    )


def test_linear_formula() -> None:
    betas = np.linspace(1e-4, 0.02, 400, dtype=np.float64)
    ours = linear_schedule(400)
    assert_close(ours.betas.numpy(), betas, rtol=1e-14, atol=0)
    assert_close(ours.alphas.numpy(), 1 - betas, rtol=1e-14, atol=0)
    assert_close(ours.alphas_cumprod.numpy(), np.exp(np.cumsum(np.log1p(-betas))))


def test_cosine_formula() -> None:
    steps = np.arange(1001, dtype=np.float64) / 1000
    f = np.cos((steps + 0.008) / 1.008 * np.pi / 2) ** 2
    ours = cosine_schedule(1000)
    # Where no beta is cut, the product telescopes to the paper's f(t) / f(0).
    uncut = ours.betas.numpy() < 0.999
    assert uncut.sum() == 999 and not uncut[-1]
    assert_close(ours.alphas_cumprod.numpy()[uncut], (f[1:] / f[0])[uncut], rtol=1e-9, atol=0)
    assert float(ours.betas.max()) == 0.999


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_is_a_schedule(kind: str) -> None:
    schedule = make_schedule(kind, 1000)
    assert schedule.num_train_timesteps == 1000
    assert schedule.betas.dtype == schedule.alphas_cumprod.dtype == torch.float64
    assert bool((schedule.alphas_cumprod.diff() < 0).all())
    assert 0 < float(schedule.alphas_cumprod[-1]) < 1e-4
    assert float(schedule.alphas_cumprod[0]) > 0.9995 - 1e-4


def test_signal_noise_and_snr() -> None:
    schedule = linear_schedule(10)
    t = torch.tensor([0, 9, 3])
    a, s = schedule.signal_and_noise(t, torch.zeros(3, 3, 2, 2))
    assert a.dtype == torch.float32 and a.shape == (3, 1, 1, 1)
    assert_close(a**2 + s**2, torch.ones(3, 1, 1, 1))
    a, s = schedule.signal_and_noise(t, torch.zeros(3, 3, 2, 2, dtype=torch.float64))
    assert_close((a**2 / s**2).flatten(), schedule.snr(t))


def test_low_precision_pictures_get_exact_factors() -> None:
    """The root is taken in float64: 1 - alphas_cumprod must not cancel in bfloat16."""
    schedule = linear_schedule(1000)
    _, s = schedule.signal_and_noise(torch.tensor([0]), torch.zeros(1, 3, 2, 2).bfloat16())
    assert_close(float(s), 0.01, rtol=4e-3, atol=0)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="schedule=sigmoid: use one of linear, cosine"):
        make_schedule("sigmoid", 10)
    for start, end in ((0.0, 0.1), (0.2, 0.1), (0.1, 1.0), (-0.1, 0.1)):
        with pytest.raises(ConfigError, match=f"^beta_start={start}, beta_end={end}: need"):
            scaled_linear_schedule(10, start, end)


def test_given_betas_are_computed_in_float64() -> None:
    schedule = schedule_of_betas(torch.full((3,), 0.5))
    assert_close(schedule.alphas_cumprod, torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64))


@pytest.mark.parametrize("betas", [[], [0.5, 0.0], [0.5, 1.0], [2.0], [-0.1], [0.5, torch.nan]])
def test_betas_that_are_none(betas: list[float]) -> None:
    with pytest.raises(ConfigError, match="need numbers between 0 and 1"):
        schedule_of_betas(torch.tensor(betas))
