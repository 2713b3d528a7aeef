"""Noise schedules: how much of the picture is left at each timestep."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hw2.errors import ConfigError

BETA_START, BETA_END = 0.00085, 0.012  # of Stable Diffusion 1.x


class Resident:
    """A tensor on the processor, copied once to each device that asks for it.

    A copy waits for all that the device was told before, so that none is made in each step.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copies = {tensor.device: tensor}
        self._first = tensor

    def on(self, device: torch.device) -> Tensor:
        """The tensor on `device`."""
        if device not in self._copies:
            self._copies[device] = self._first.to(device)
        return self._copies[device]


@dataclass(frozen=True)
class NoiseSchedule:
    """A discrete variance schedule over timesteps 0 .. T-1 (Ho et al. 2020, section 2), in float64.

    `betas`, `alphas` and `alphas_cumprod` are (T,); `alphas_cumprod[t]` is the share of the
    picture's variance left at timestep t, in (0, 1).
    """

    betas: Float[Tensor, " t"]
    alphas: Float[Tensor, " t"]
    alphas_cumprod: Float[Tensor, " t"]

    @cached_property
    def _alphas_cumprod(self) -> Resident:
        return Resident(self.alphas_cumprod)

    @property
    def num_train_timesteps(self) -> int:
        """T; timesteps are 0 .. T-1."""
        return len(self.betas)

    def signal_and_noise(
        self, t: Int64[Tensor, " b"], like: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
        """sqrt(alphas_cumprod[t]) and sqrt(1 - alphas_cumprod[t]), shaped to multiply `like`."""
        alpha = self._alphas_cumprod.on(t.device)[t].to(like.device)
        view = (-1, 1, 1, 1)
        return alpha.sqrt().view(view).to(like.dtype), (1 - alpha).sqrt().view(view).to(like.dtype)

    def signal_and_noise_at(
        self, t: int, dtype: torch.dtype
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The same two at one timestep, on the processor: a device gets them with the next call."""
        alpha = self.alphas_cumprod[t]
        return alpha.sqrt().to(dtype), (1 - alpha).sqrt().to(dtype)

    def snr(self, t: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Signal-to-noise ratio alphas_cumprod / (1 - alphas_cumprod) at `t`, float64."""
        alpha = self.alphas_cumprod[t.cpu()]
        return alpha / (1 - alpha)


def schedule_of_betas(betas: Float[Tensor, " t"]) -> NoiseSchedule:
    """The schedule of given betas. Raises ConfigError unless each is in (0, 1)."""
    if not len(betas) or not bool(((betas > 0) & (betas < 1)).all()):  # of nan neither is true
        told = f"{float(betas.min())} to {float(betas.max())}" if len(betas) else "none"
        raise ConfigError(f"betas={told}: need numbers between 0 and 1")
    alphas = 1 - betas.double()
    return NoiseSchedule(betas.double(), alphas, alphas.cumprod(0))


def linear_schedule(num_train_timesteps: int) -> NoiseSchedule:
    """Betas evenly spaced from 1e-4 to 0.02 (Ho et al. 2020, section 4)."""
    return schedule_of_betas(torch.linspace(1e-4, 0.02, num_train_timesteps, dtype=torch.float64))


def cosine_schedule(num_train_timesteps: int) -> NoiseSchedule:
    """Squared-cosine alphas_cumprod (Nichol & Dhariwal 2021, eq. 17), betas cut at 0.999."""

    def alpha_bar(u: float) -> float:
        return math.cos((u + 0.008) / (1 + 0.008) * math.pi / 2) ** 2

    steps = num_train_timesteps
    betas = [
        min(1 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), 0.999) for i in range(steps)
    ]
    return schedule_of_betas(torch.tensor(betas, dtype=torch.float64))


def scaled_linear_schedule(
    num_train_timesteps: int, beta_start: float = BETA_START, beta_end: float = BETA_END
) -> NoiseSchedule:
    """Betas whose square roots are evenly spaced, as Stable Diffusion 1.x is trained with.

    Rombach et al. 2022 in their code; diffusers' "scaled_linear". Raises ConfigError unless
    0 < beta_start <= beta_end < 1.
    """
    if not 0 < beta_start <= beta_end < 1:
        raise ConfigError(
            f"beta_start={beta_start}, beta_end={beta_end}: need 0 < beta_start <= beta_end < 1"
        )
    ends = beta_start**0.5, beta_end**0.5
    return schedule_of_betas(
        torch.linspace(*ends, num_train_timesteps, dtype=torch.float64).square()
    )


def make_schedule(kind: str, num_train_timesteps: int) -> NoiseSchedule:
    """The schedule called `kind`: "linear" or "cosine". Raises ConfigError for another."""
    makers = {"linear": linear_schedule, "cosine": cosine_schedule}
    if kind not in makers:
        raise ConfigError(f"schedule={kind}: use one of {', '.join(makers)}")
    return makers[kind](num_train_timesteps)
