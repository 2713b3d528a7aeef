"""Ancestral sampling, written out."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from hw2.diffusion.samplers import Denoise, Fresh, Sampler, SampleStep, alpha_cumprod, clipped
from hw2.diffusion.schedule import NoiseSchedule


def ddpm(
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    fresh: Fresh,
    steps: list[int],
    *,
    clip_x0: bool = False,
) -> Iterator[SampleStep]:
    """Ancestral sampling with variance beta_t (Ho et al. 2020, algorithm 2).

    `steps` are all timesteps, T-1 .. 0: an update leads to the one before, none left out.
    x_prev = (xt - beta_t / sqrt(1 - alphas_cumprod_t) eps) / sqrt(alpha_t) + sqrt(beta_t) z, the
    course's formula. With `clip_x0` the mean is written through the clipped x0 (eq. 7).
    """
    xt = x_start
    for t in steps:
        alpha_bar, alpha_bar_prev = alpha_cumprod(schedule, t), alpha_cumprod(schedule, t - 1)
        beta, alpha = schedule.betas[t], schedule.alphas[t]
        a, s = schedule.signal_and_noise_at(t, xt.dtype)
        eps = denoise(xt, t)
        x0, _ = clipped(eps, xt, a, s, clip_x0)
        if clip_x0:
            to_x0 = (alpha_bar_prev.sqrt() * beta / (1 - alpha_bar)).to(xt.dtype)
            to_xt = (alpha.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)).to(xt.dtype)
            mean = to_x0 * x0 + to_xt * xt
        else:
            to_eps = (beta / (1 - alpha_bar).sqrt()).to(xt.dtype)
            mean = (xt - to_eps * eps) / alpha.sqrt().to(xt.dtype)
        xt = mean + beta.sqrt().to(xt.dtype) * fresh(t) if t > 0 else mean
        yield SampleStep(t, xt, x0)


SAMPLER = Sampler(ddpm, every_timestep=True)
