"""What a network predicts, eps or v, and how one is read as the other.

With a = sqrt(alphas_cumprod[t]) and s = sqrt(1 - alphas_cumprod[t]), xt = a x0 + s eps (Ho et al.
2020, eq. 4) and v = a eps - s x0 (Salimans & Ho 2022, section 4). Pictures and noises are
(b, c, h, w), a and s scalars or (b, 1, 1, 1).
"""

from typing import Literal

from torch import Tensor

PredictionType = Literal["epsilon", "v_prediction"]


def add_noise(x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """xt = a x0 + s noise."""
    return a * x0 + s * noise


def target_of(kind: PredictionType, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """What the network should answer for `xt = a x0 + s noise`."""
    return noise if kind == "epsilon" else a * noise - s * x0


def eps_of(kind: PredictionType, output: Tensor, xt: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """The noise that the network's `output` says is in `xt`."""
    return output if kind == "epsilon" else a * output + s * xt


def x0_of(eps: Tensor, xt: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """The clean picture in `xt` if its noise is `eps` (Song et al. 2021, eq. 9)."""
    return (xt - s * eps) / a
