"""Denoisers with known answers, schedules in float64, and the bridge to diffusers' schedulers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hw2.diffusion.schedule import NoiseSchedule

SHAPE = (2, 3, 4, 4)
Denoise = Callable[[Tensor, int], Tensor]


def noise_at(t: int) -> Tensor:
    """The same fresh noise for a timestep whoever asks, float64."""
    generator = torch.Generator().manual_seed(1000 + t)
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def smooth_denoiser() -> Denoise:
    """A random smooth function of picture and timestep, float64, values in about -1.5 .. 1.5."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(3, 3, generator=generator, dtype=torch.float64) / 2

    def denoise(xt: Tensor, t: int) -> Tensor:
        return 1.5 * torch.tanh(torch.einsum("ij,bjhw->bihw", mix, xt) + 0.01 * t)

    return denoise


class GaussianData:
    """Pixels drawn from N(mean, std^2): the exact noise prediction, and where its ODE ends."""

    def __init__(self, schedule: NoiseSchedule, mean: float = 0.2, std: float = 0.5) -> None:
        self.schedule, self.mean, self.std = schedule, mean, std

    def __call__(self, xt: Tensor, t: int) -> Tensor:
        """E[eps | xt] = s (xt - a mean) / (a^2 std^2 + s^2)."""
        alpha_bar = self.schedule.alphas_cumprod[t]
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return s * (xt - a * self.mean) / (a**2 * self.std**2 + s**2)

    def end(self, x_start: Tensor) -> Tensor:
        """The probability-flow ODE keeps the standard score of a pixel (Song et al. 2021)."""
        alpha_bar = self.schedule.alphas_cumprod[-1]
        spread = (alpha_bar * self.std**2 + 1 - alpha_bar).sqrt()
        return self.mean + self.std * (x_start - alpha_bar.sqrt() * self.mean) / spread


def two_peaks(schedule: NoiseSchedule, peak: float = 0.6, std: float = 0.2) -> Denoise:
    """The exact noise prediction where pixels are N(+-peak, std^2), either sign alike."""

    def denoise(xt: Tensor, t: int) -> Tensor:
        alpha_bar = schedule.alphas_cumprod[t]
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        variance = a**2 * std**2 + s**2
        # The posterior mean of +-peak given xt, by Bayes' rule.
        centre = peak * torch.tanh(a * peak * xt / variance)
        return s * (xt - a * centre) / variance

    return denoise


def in_float64(kind: type, schedule: NoiseSchedule, **settings: Any) -> Any:
    """A diffusers scheduler with our betas, its float32 tables replaced by float64 ones."""
    scheduler = kind(
        num_train_timesteps=schedule.num_train_timesteps,
        trained_betas=schedule.betas.tolist(),
        **settings,
    )
    scheduler.betas = schedule.betas
    scheduler.alphas = 1 - schedule.betas
    scheduler.alphas_cumprod = (1 - schedule.betas).cumprod(0)
    return scheduler


class Says(nn.Module):
    """Predicts no noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return 0 * xt + self.weight
