"""From noise to pictures: DDPM and DDIM written out, DPM-Solver++ and UniPC through diffusers.

Every sampler is a generator over the timesteps it visits, noisiest first, and takes the guided
noise prediction `denoise(xt, t) -> eps` as a function. None of them draws random numbers: fresh
noise comes from `fresh(t)`, so that the caller decides what it depends on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hw2.diffusion.prediction import x0_of
from hw2.diffusion.schedule import NoiseSchedule
from hw2.errors import ConfigError

Denoise = Callable[[Tensor, int], Tensor]
Fresh = Callable[[int], Tensor]
SamplerName = Literal["ddpm", "ddim", "dpmpp", "unipc"]
Spacing = Literal["leading", "linspace", "trailing"]


@dataclass(frozen=True)
class SampleStep:
    """The state after the update at timestep `t`: `xt` (b, c, h, w) and the predicted `x0`."""

    t: int
    xt: Float[Tensor, "b c h w"]
    x0: Float[Tensor, "b c h w"]


def timesteps(
    num_train_timesteps: int,
    num_inference_steps: int,
    spacing: Spacing = "trailing",
    steps_offset: int = 0,
) -> list[int]:
    """Falling timesteps in 0 .. T-1, evenly spread (Lin et al. 2024, table 2).

    Args:
        num_train_timesteps: T.
        num_inference_steps: n, in 1 .. T.
        spacing: "trailing" starts at T-1, which is what makes the first call see pure noise
            (section 3.3 there); "leading" takes every (T/n)-th timestep from 0 up; "linspace" holds
            both ends. The words are diffusers'.
        steps_offset: added to each timestep of "leading", >= 0; the others take no notice of it.

    Raises:
        ConfigError: n is out of range; or with "leading", n does not divide T, or the offset leads
            beyond T-1.
    """
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise ConfigError(
            f"num_inference_steps={num_inference_steps}: use 1 .. {num_train_timesteps}, "
            "the number of training timesteps"
        )
    if spacing == "leading":
        return _leading(num_train_timesteps, num_inference_steps, steps_offset)
    if spacing == "linspace":
        spread = np.linspace(0, num_train_timesteps - 1, num_inference_steps)
        return spread.round()[::-1].astype(int).tolist()
    ratio = num_train_timesteps / num_inference_steps
    return [round(num_train_timesteps - i * ratio) - 1 for i in range(num_inference_steps)]


def _leading(total: int, count: int, offset: int) -> list[int]:
    """The `count` timesteps of "leading", out of `total`."""
    if total % count:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        below = max(n for n in divisors if n < count)
        above = min(n for n in divisors if n > count)
        raise ConfigError(
            f"num_inference_steps={count} does not divide num_train_timesteps={total}: "
            f"use {below} or {above}, or timestep_spacing trailing"
        )
    steps = [i * (total // count) + offset for i in reversed(range(count))]
    if steps[0] >= total:
        raise ConfigError(
            f"steps_offset={offset}: the first of {count} timesteps would be {steps[0]}, beyond "
            f"the last, {total - 1}: use steps_offset 0"
        )
    return steps


def _clipped(eps: Tensor, xt: Tensor, a: Tensor, s: Tensor, clip: bool) -> tuple[Tensor, Tensor]:
    """Predicted x0, kept in [-1, 1] if wanted, and the noise that goes with it."""
    x0 = x0_of(eps, xt, a, s)
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = (xt - a * x0) / s
    return x0, eps


def _alpha(schedule: NoiseSchedule, t: int) -> Float[Tensor, ""]:
    """alphas_cumprod at t, and 1 below timestep 0, where the picture is clean."""
    return schedule.alphas_cumprod[t] if t >= 0 else torch.ones((), dtype=torch.float64)


def ddpm(
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    fresh: Fresh,
    *,
    clip_x0: bool = False,
) -> Iterator[SampleStep]:
    """Ancestral sampling over all T steps with variance beta_t (Ho et al. 2020, algorithm 2).

    x_prev = (xt - beta_t / sqrt(1 - alphas_cumprod_t) eps) / sqrt(alpha_t) + sqrt(beta_t) z, the
    course's formula. With `clip_x0` the mean is written through the clipped x0 (eq. 7).
    """
    xt = x_start
    for t in reversed(range(schedule.num_train_timesteps)):
        alpha_bar, alpha_bar_prev = _alpha(schedule, t), _alpha(schedule, t - 1)
        beta, alpha = schedule.betas[t], schedule.alphas[t]
        a, s = alpha_bar.sqrt().to(xt), (1 - alpha_bar).sqrt().to(xt)
        eps = denoise(xt, t)
        x0, _ = _clipped(eps, xt, a, s, clip_x0)
        if clip_x0:
            to_x0 = (alpha_bar_prev.sqrt() * beta / (1 - alpha_bar)).to(xt)
            to_xt = (alpha.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)).to(xt)
            mean = to_x0 * x0 + to_xt * xt
        else:
            mean = (xt - (beta / (1 - alpha_bar).sqrt()).to(xt) * eps) / alpha.sqrt().to(xt)
        xt = mean + beta.sqrt().to(xt) * fresh(t) if t > 0 else mean
        yield SampleStep(t, xt, x0)


def ddim(
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    fresh: Fresh,
    steps: list[int],
    *,
    eta: float = 0.0,
    clip_x0: bool = True,
    set_alpha_to_one: bool = True,
    use_clipped_model_output: bool = True,
) -> Iterator[SampleStep]:
    """DDIM over the falling timesteps `steps` (Song et al. 2021, eq. 12 and 16).

    `eta` in [0, 1]: 0 is deterministic, 1 has DDPM's posterior variance. The last step ends at the
    clean picture, or, without `set_alpha_to_one`, at timestep 0's share of noise. Where x0 was
    clipped, the direction to xt follows from it, or, without `use_clipped_model_output`, is the
    predicted noise. Both words, and what they do, are diffusers'.
    """
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta={eta}: need 0 (deterministic) .. 1 (DDPM's variance)")
    xt = x_start
    for t, t_prev in zip(steps, [*steps[1:], -1 if set_alpha_to_one else 0], strict=True):
        alpha_bar, alpha_bar_prev = _alpha(schedule, t), _alpha(schedule, t_prev)
        a, s = alpha_bar.sqrt().to(xt), (1 - alpha_bar).sqrt().to(xt)
        eps = denoise(xt, t)
        x0, eps_of_x0 = _clipped(eps, xt, a, s, clip_x0)
        eps = eps_of_x0 if use_clipped_model_output else eps
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
        sigma = eta * variance.sqrt()
        direction = (1 - alpha_bar_prev - sigma**2).clamp(min=0).sqrt()
        xt = alpha_bar_prev.sqrt().to(xt) * x0 + direction.to(xt) * eps
        if sigma > 0:  # it is 0 where the step ends at the clean picture, or where it began
            xt = xt + sigma.to(xt) * fresh(t)
        yield SampleStep(t, xt, x0)


def diffusers_solver(
    name: Literal["dpmpp", "unipc"],
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    steps: list[int],
    *,
    clip_x0: bool = True,
) -> Iterator[SampleStep]:
    """DPM-Solver++ (Lu et al. 2022) or UniPC (Zhao et al. 2023), second order, from diffusers.

    Both are written in the predicted x0, so that is what they are given, clipped if wanted.
    """
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    kind = {"dpmpp": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}[name]
    solver = kind(
        num_train_timesteps=schedule.num_train_timesteps,
        trained_betas=schedule.betas.tolist(),
        prediction_type="sample",
        solver_order=2,
    )
    solver.set_timesteps(len(steps))
    # diffusers' own "trailing" list has an extra timestep -1 for one length in ten (61 of 1000).
    alpha_bar = schedule.alphas_cumprod[steps]
    solver.timesteps = torch.tensor(steps)
    solver.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1)]).float()
    xt = x_start
    for t in steps:
        a, s = _alpha(schedule, t).sqrt().to(xt), (1 - _alpha(schedule, t)).sqrt().to(xt)
        x0, _ = _clipped(denoise(xt, t), xt, a, s, clip_x0)
        xt = solver.step(x0, t, xt).prev_sample
        yield SampleStep(t, xt, x0)


def check_sampler(
    name: SamplerName, num_train_timesteps: int, num_inference_steps: int, eta: float
) -> list[int]:
    """The timesteps that the sampler called `name` visits.

    "ddpm" visits all T timesteps, since DDIM with eta=1 is that sampler on fewer steps, and `eta`
    is DDIM's alone. Raises ConfigError for anything else.
    """
    steps = timesteps(num_train_timesteps, num_inference_steps)
    if name == "ddpm" and num_inference_steps != num_train_timesteps:
        raise ConfigError(
            f"num_inference_steps={num_inference_steps}: sampler ddpm visits all "
            f"{num_train_timesteps} timesteps; set {num_train_timesteps}, or take sampler ddim "
            "with eta 1"
        )
    if name != "ddim" and eta != 0:
        raise ConfigError(f"eta={eta}: only sampler ddim has it, not {name}")
    return steps


def sample(
    name: SamplerName,
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    fresh: Fresh,
    *,
    num_inference_steps: int,
    eta: float = 0.0,
    clip_x0: bool = True,
) -> Iterator[SampleStep]:
    """The sampler called `name`. Raises ConfigError as `check_sampler` does."""
    steps = check_sampler(name, schedule.num_train_timesteps, num_inference_steps, eta)
    if name == "ddpm":
        return ddpm(denoise, schedule, x_start, fresh, clip_x0=clip_x0)
    if name == "ddim":
        return ddim(denoise, schedule, x_start, fresh, steps, eta=eta, clip_x0=clip_x0)
    return diffusers_solver(name, denoise, schedule, x_start, steps, clip_x0=clip_x0)
