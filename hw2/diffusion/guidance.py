"""Classifier-free guidance: the only place that knows (1 + w)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.diffusion.prediction import PredictionType, eps_of
from hw2.diffusion.schedule import NoiseSchedule
from hw2.errors import ConfigError

Network = Callable[..., Tensor]


def guide(
    eps_cond: Float[Tensor, "b c h w"],
    eps_uncond: Float[Tensor, "b c h w"],
    w: float,
) -> Float[Tensor, "b c h w"]:
    """eps = (1 + w) eps_cond - w eps_uncond (Ho & Salimans 2022, eq. 6).

    w = 0 is the conditional model, w = -1 the unconditional one; diffusers' scale is 1 + w.
    """
    return (1 + w) * eps_cond - w * eps_uncond


@dataclass(frozen=True)
class Guidance:
    """Weight `w` and the noise interval in which it acts (Kynkaanniemi et al. 2024).

    `interval` is a pair (low, high) of timesteps as fractions of T in [0, 1], 1 the noisiest.
    Outside it the conditional prediction is taken alone, with half the network's work.
    """

    w: float = 2.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise ConfigError(f"guidance_interval=[{low}, {high}]: need 0 <= low <= high <= 1")

    def acts_at(self, t: int, num_train_timesteps: int) -> bool:
        """Whether the unconditional prediction is wanted at timestep `t`."""
        low, high = self.interval
        return self.w != 0 and low <= (t + 1) / num_train_timesteps <= high


class GuidedDenoiser:
    """A conditional network under guidance, as the function eps(xt, t) that samplers take.

    The network is called as net(xt (b, c, h, w), t (b,), *cond), each condition (b, ...); `uncond`
    is what its unconditional branch is told instead. Both predictions come from one call with a
    doubled batch. `num_network_calls` counts the pictures' worth of calls: 2 where guidance acts,
    1 where it does not.
    """

    def __init__(
        self,
        net: Network,
        schedule: NoiseSchedule,
        guidance: Guidance,
        prediction_type: PredictionType,
        cond: tuple[Tensor, ...],
        uncond: tuple[Tensor, ...],
    ) -> None:
        self.net, self.schedule, self.guidance = net, schedule, guidance
        self.prediction_type, self.cond, self.uncond = prediction_type, cond, uncond
        self.num_network_calls = 0

    def __call__(self, xt: Float[Tensor, "b c h w"], t: int) -> Float[Tensor, "b c h w"]:
        """Guided noise prediction, same shape as `xt`; t in 0 .. T-1."""
        steps = torch.full((len(xt),), t, dtype=torch.int64, device=xt.device)
        a, s = self.schedule.signal_and_noise_at(t, xt.dtype)
        if not self.guidance.acts_at(t, self.schedule.num_train_timesteps):
            self.num_network_calls += 1
            output = self.net(xt, steps, *self.cond).to(xt.dtype)
            return eps_of(self.prediction_type, output, xt, a, s)
        self.num_network_calls += 2
        told = [torch.cat(pair) for pair in zip(self.cond, self.uncond, strict=True)]
        # Not in the network's own precision: (1 + w) would magnify its rounding.
        output = self.net(torch.cat([xt, xt]), torch.cat([steps, steps]), *told).to(xt.dtype)
        eps_cond, eps_uncond = (
            eps_of(self.prediction_type, half, xt, a, s) for half in output.chunk(2)
        )
        return guide(eps_cond, eps_uncond, self.guidance.w)
