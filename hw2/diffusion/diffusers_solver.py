"""A solver of diffusers at our timesteps."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.diffusion.samplers import Denoise, Fresh, SampleStep, clipped
from hw2.diffusion.schedule import NoiseSchedule


def diffusers_solver(
    kind: Any,
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    fresh: Fresh,
    steps: list[int],
    *,
    clip_x0: bool = True,
) -> Iterator[SampleStep]:
    """A second-order scheduler of diffusers, by its class `kind`, over the falling timesteps.

    It is one that is written in the predicted x0, so that is what it is given, clipped if wanted.
    It is deterministic: `fresh` is not asked.
    """
    solver = kind(
        num_train_timesteps=schedule.num_train_timesteps,
        trained_betas=schedule.betas.tolist(),
        prediction_type="sample",
        solver_order=2,
    )
    solver.set_timesteps(len(steps))
    # diffusers' own "trailing" list differs for one length in ten, for some by an extra -1.
    alpha_bar = schedule.alphas_cumprod[steps]
    solver.timesteps = torch.tensor(steps)
    solver.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1)]).float()
    xt = x_start
    for t in steps:
        a, s = schedule.signal_and_noise_at(t, xt.dtype)
        x0, _ = clipped(denoise(xt, t), xt, a, s, clip_x0)
        xt = solver.step(x0, t, xt).prev_sample
        yield SampleStep(t, xt, x0)
