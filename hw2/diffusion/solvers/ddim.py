"""DDIM, written out: deterministic, ancestral, or between."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from hw2.diffusion.samplers import (
    Denoise,
    Fresh,
    Sampler,
    SampleStep,
    alpha_cumprod,
    check_eta,
    clipped,
)
from hw2.diffusion.schedule import NoiseSchedule


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
    predicted noise. Both words, and what they do, are diffusers'. Raises ConfigError for another
    `eta` when the first step is asked for.
    """
    check_eta(eta)
    xt = x_start
    for t, t_prev in zip(steps, [*steps[1:], -1 if set_alpha_to_one else 0], strict=True):
        alpha_bar, alpha_bar_prev = alpha_cumprod(schedule, t), alpha_cumprod(schedule, t_prev)
        a, s = schedule.signal_and_noise_at(t, xt.dtype)
        eps = denoise(xt, t)
        x0, eps_of_x0 = clipped(eps, xt, a, s, clip_x0)
        eps = eps_of_x0 if use_clipped_model_output else eps
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
        sigma = eta * variance.sqrt()
        direction = (1 - alpha_bar_prev - sigma**2).clamp(min=0).sqrt()
        xt = alpha_bar_prev.sqrt().to(xt.dtype) * x0 + direction.to(xt.dtype) * eps
        if sigma > 0:  # it is 0 where the step ends at the clean picture, or where it began
            xt = xt + sigma.to(xt.dtype) * fresh(t)
        yield SampleStep(t, xt, x0)


SAMPLER = Sampler(ddim, has_eta=True)
