"""The training objectives of a DDPM, without and with labels."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.prediction import PredictionType, add_noise, target_of
from hw2.diffusion.schedule import NoiseSchedule, Resident
from hw2.pixels import to_unit


class PictureBatch(NamedTuple):
    """Pictures 0..255 (b, 3, h, w)."""

    images: UInt8[Tensor, "b 3 h w"]


class DigitBatch(NamedTuple):
    """Pictures 0..255 (b, 3, h, w), digits 0..9 (b,), domains 0..1 (b,)."""

    images: UInt8[Tensor, "b 3 h w"]
    digit: Int64[Tensor, " b"]
    domain: Int64[Tensor, " b"]


def min_snr_weight(
    snr: Float[Tensor, " b"], gamma: float, kind: PredictionType, floor: float
) -> Float[Tensor, " b"]:
    """Min-SNR-gamma weight of an error in eps or v (Hang et al. 2023, eq. 7).

    In terms of the predicted x0 the weight is the SNR, at most `gamma`, and at least `floor`
    (truncated SNR, Salimans & Ho 2022, section 4): without a floor an eps network is hardly told of
    the noisiest timesteps, where a small error in eps is a large one in brightness.
    """
    return snr.clamp(min=floor, max=gamma) / (snr if kind == "epsilon" else snr + 1)


@dataclass(frozen=True)
class DenoisingObjective:
    """Mean squared error of the prediction (Ho et al. 2020, algorithm 1).

    `min_snr_gamma` None weighs all timesteps alike; `snr_floor` is that of `min_snr_weight`.

    `timesteps`: "uniform" draws t evenly and multiplies the error by its weight; "importance" draws
    t in proportion to the weight and multiplies by the mean weight. The expected loss is the same,
    its variance lower: no network call is spent on a timestep that hardly counts.
    """

    schedule: NoiseSchedule
    prediction_type: PredictionType = "epsilon"
    min_snr_gamma: float | None = None
    timesteps: Literal["uniform", "importance"] = "uniform"
    snr_floor: float = 0.0

    @cached_property
    def weights(self) -> Float[Tensor, " t"]:
        """The weight of each timestep's error, float64."""
        t = torch.arange(self.schedule.num_train_timesteps)
        if self.min_snr_gamma is None:
            return torch.ones(len(t), dtype=torch.float64)
        snr = self.schedule.snr(t)
        return min_snr_weight(snr, self.min_snr_gamma, self.prediction_type, self.snr_floor)

    @cached_property
    def _weights(self) -> Resident:
        return Resident(self.weights)

    def draw_timesteps(self, random: CounterRandom) -> tuple[Int64[Tensor, " b"], Tensor]:
        """Timesteps (b,), and the factors (b,) that make their mean error the weighted one."""
        u = random.uniform(Stream.TIMESTEP).double()
        weights = self._weights.on(u.device)
        if self.timesteps == "uniform":
            t = (u * len(weights)).long()
            return t, weights[t]
        cumulative = weights.cumsum(0)
        t = torch.searchsorted(cumulative, u * cumulative[-1], right=True)
        return t.clamp(max=len(weights) - 1), weights.mean().expand(len(t))

    def clean(self, batch: Any) -> Tensor:
        """What noise is added to, (b, c, h, w): the pictures in [-1, 1]."""
        return to_unit(batch.images)

    def conditions(self, batch: Any, random: CounterRandom) -> tuple[Tensor, ...]:
        """What the network is told beside picture and timestep: nothing."""
        return ()

    def shares(self, batch: Any) -> Tensor | float:
        """How much each sample counts, (b,), on average 1: all alike."""
        return 1.0

    def errors(self, net: nn.Module, batch: Any, random: CounterRandom) -> Float[Tensor, " b"]:
        """The weighted error of `net` on each sample of `batch`."""
        x0 = self.clean(batch)
        t, weight = self.draw_timesteps(random)
        noise = random.normal(Stream.NOISE, *x0.shape[1:]).to(x0.device)
        a, s = self.schedule.signal_and_noise(t, x0)
        told = self.conditions(batch, random)
        output = net(add_noise(x0, noise, a, s), t.to(x0.device), *told)
        target = target_of(self.prediction_type, x0, noise, a, s)
        error = (output.float() - target).square().mean(dim=(1, 2, 3))
        return error * weight.to(error)

    def __call__(
        self, net: nn.Module, batch: Any, random: CounterRandom
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (a scalar) of `net` on `batch`, and metrics to log (none)."""
        return (self.errors(net, batch, random) * self.shares(batch)).mean(), {}


@dataclass(frozen=True)
class LabelledObjective(DenoisingObjective):
    """The same with labels, some dropped for classifier-free guidance.

    Ho & Salimans 2022, algorithm 1. `label_dropout` in [0, 1] is the share of samples trained
    without label. `drop`: "joint" drops digit and domain together, "digit" keeps the domain,
    "separate" drops each on its own.
    """

    label_dropout: float = 0.1
    drop: Literal["joint", "digit", "separate"] = "joint"
    null_digit: int = 10
    null_domain: int = 2

    def conditions(
        self, batch: DigitBatch, random: CounterRandom
    ) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"]]:
        """The labels with a share of them replaced by the null label."""
        u = random.uniform(Stream.LABEL_DROPOUT).to(batch.digit.device)
        p = self.label_dropout
        if self.drop == "separate":
            # Of the unit interval: the first p drops the digit, the p from p(1-p) on the domain,
            # so that p*p of all lose both, as two independent draws would.
            drop_digit, drop_domain = u < p, (u >= p * (1 - p)) & (u < p * (2 - p))
        else:
            drop_digit = u < p
            drop_domain = drop_digit if self.drop == "joint" else torch.zeros_like(drop_digit)
        digit = batch.digit.masked_fill(drop_digit, self.null_digit)
        return digit, batch.domain.masked_fill(drop_domain, self.null_domain)
