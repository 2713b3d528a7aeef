"""The moving average of a network's weights."""

import copy

import numpy as np
import torch
from torch import nn


def power_of_width(width: float) -> float:
    """Exponent gamma of the power-function profile of relative width `width`.

    Solves width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) (Karras et al. 2024, eq. 126);
    `width` in (0, 0.28].
    """
    target = width**-2
    # (g+2)^2 (g+3) - (g+1)/width^2 = 0, largest real root
    return float(np.roots([1, 7, 16 - target, 12 - target]).real.max())


class PowerEma:
    """Weights averaged over about the last `width` of the run (Karras et al. 2024, eq. 123).

    The profile grows with the run, so that a short and a long training need the same setting.
    """

    def __init__(self, net: nn.Module, width: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.gamma = power_of_width(width)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (1, 2, ...)."""
        share = 1 - (1 - 1 / step) ** (self.gamma + 1)
        mean = [p for p in self.net.state_dict().values() if p.is_floating_point()]
        new = [p for p in net.state_dict().values() if p.is_floating_point()]
        torch._foreach_lerp_(mean, new, share)
