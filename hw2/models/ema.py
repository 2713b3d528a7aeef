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


def moving(net: nn.Module) -> list[str]:
    """Names of what a training changes in the state of `net`: all but its frozen parameters."""
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    return [name for name in net.state_dict() if name not in frozen]


class PowerEma:
    """Weights averaged over about the last `width` of the run (Karras et al. 2024, eq. 127).

    The profile grows with the run, so that a short and a long training need the same setting.
    Frozen parameters are shared with the network, not copied.
    """

    def __init__(self, net: nn.Module, width: float) -> None:
        self.names = moving(net)
        frozen = {id(p): p for p in net.parameters() if not p.requires_grad}
        self.net = copy.deepcopy(net, frozen).eval().requires_grad_(False)
        self.gamma = power_of_width(width)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (1, 2, ...)."""
        share = 1 - (1 - 1 / step) ** (self.gamma + 1)
        ours, theirs = self.net.state_dict(), net.state_dict()
        names = [name for name in self.names if theirs[name].is_floating_point()]
        mean, new = [ours[name] for name in names], [theirs[name] for name in names]
        torch._foreach_lerp_(mean, new, share)
