"""DPM-Solver++ and UniPC: diffusers' own loop, and a distribution whose answer is known."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor
from torch.testing import assert_close

from hw2.diffusion.samplers import sample, timesteps
from hw2.diffusion.schedule import NoiseSchedule, make_schedule
from tests.diffusion.toy import GaussianData, noise_at, two_peaks

START = noise_at(-1)
SOLVERS = {"dpmpp": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


def drawn(name: Any, denoise: Any, schedule: NoiseSchedule, count: int, **more: Any) -> Tensor:
    """The end of a deterministic sampler's trajectory."""
    states = sample(name, denoise, schedule, START, noise_at, num_inference_steps=count, **more)
    return list(states)[-1].xt


@pytest.mark.parametrize("count", [1, 2, 10, 20])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("name", SOLVERS)
def test_equals_a_pipelines_loop(name: str, kind: str, count: int) -> None:
    """The scheduler as a diffusers pipeline uses it: epsilon in, its own trailing timesteps."""
    schedule = make_schedule(kind, 400)
    denoise = two_peaks(schedule)
    scheduler = SOLVERS[name](
        num_train_timesteps=400,
        trained_betas=schedule.betas.tolist(),
        prediction_type="epsilon",
        timestep_spacing="trailing",
        solver_order=2,
    )
    scheduler.set_timesteps(count)
    assert scheduler.timesteps.tolist() == timesteps(400, count)
    xt = START
    for t in scheduler.timesteps:
        xt = scheduler.step(denoise(xt, int(t)), t, xt).prev_sample
    ours = drawn(name, denoise, schedule, count, clip_x0=False)
    # Theirs has float32 tables, and the cosine schedule's last alphas_cumprod is 2e-8.
    assert_close(ours, xt, rtol=0, atol=5e-4)


# Largest error of a pixel, where pixels have standard deviation 0.5: measured, a third added.
BOUNDS = {
    ("linear", "ddim"): {10: 0.5, 20: 0.3, 1000: 0.006},
    ("linear", "dpmpp"): {10: 0.4, 20: 0.1, 1000: 0.0005},
    ("linear", "unipc"): {10: 0.4, 20: 0.1, 1000: 0.0005},
    ("cosine", "ddim"): {10: 0.3, 20: 0.15, 1000: 0.004},
    ("cosine", "dpmpp"): {10: 0.12, 20: 0.007, 1000: 0.0005},
    ("cosine", "unipc"): {10: 0.09, 20: 0.007, 1000: 0.0005},
}


@pytest.mark.parametrize(("kind", "name"), BOUNDS)
def test_reaches_the_exact_end_of_the_ode(kind: str, name: str) -> None:
    schedule = make_schedule(kind, 1000)
    denoise = GaussianData(schedule)
    exact = denoise.end(START)
    errors = {
        count: float((drawn(name, denoise, schedule, count, clip_x0=False) - exact).abs().max())
        for count in BOUNDS[kind, name]
    }
    assert all(errors[count] < bound for count, bound in BOUNDS[kind, name].items()), errors
    assert all(few > many for few, many in pairwise(errors.values())), errors


@pytest.mark.parametrize("name", SOLVERS)
def test_second_order_beats_ddim_at_few_steps(name: str) -> None:
    schedule = make_schedule("cosine", 1000)
    denoise = GaussianData(schedule)
    exact = denoise.end(START)
    ours = (drawn(name, denoise, schedule, 15, clip_x0=False) - exact).abs().max()
    ddim = (drawn("ddim", denoise, schedule, 50, clip_x0=False) - exact).abs().max()
    assert float(ours) < float(ddim)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_length_at_which_diffusers_goes_one_step_too_far(name: str) -> None:
    """Its np.arange(1000, 0, -1000 / 61) has 62 entries, the last of them timestep -1."""
    schedule = make_schedule("cosine", 1000)
    denoise = GaussianData(schedule)
    seen = []

    def spy(xt: Tensor, t: int) -> Tensor:
        seen.append(t)
        return denoise(xt, t)

    end = drawn(name, spy, schedule, 61, clip_x0=False)
    assert seen == timesteps(1000, 61) and min(seen) >= 0
    assert_close(end, denoise.end(START), rtol=0, atol=0.005)


@pytest.mark.parametrize("name", SOLVERS)
def test_clipping_tames_a_slightly_wrong_noise_prediction(name: str) -> None:
    """At the cosine schedule's end an error of 0.01 in eps is one of 200 in x0."""
    schedule = make_schedule("cosine", 1000)
    denoise = GaussianData(schedule)

    def wrong(xt: Tensor, t: int) -> Tensor:
        return denoise(xt, t) + 0.01 * noise_at(5000)

    def spread(clip: bool) -> float:
        return float(drawn(name, wrong, schedule, 20, clip_x0=clip).std())

    assert spread(True) < 0.7 < 2 < spread(False)


@pytest.mark.parametrize("name", SOLVERS)
def test_float32_pictures_stay_float32(name: str) -> None:
    schedule = make_schedule("cosine", 1000)
    denoise = GaussianData(schedule)
    states = sample(
        name,
        lambda xt, t: denoise(xt.double(), t).float(),
        schedule,
        START.float(),
        noise_at,
        num_inference_steps=20,
    )
    end = list(states)[-1].xt
    assert end.dtype == torch.float32
    assert_close(end.double(), drawn(name, denoise, schedule, 20), rtol=0, atol=2e-3)
