"""The GT of the offline face tree: DDIM in float64, written a second time.

It shares no code with hw2.diffusion, so that GT can tell when the sampler there is wrong.
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

NUM_TRAIN_TIMESTEPS = 1000
STRIDE, OFFSET = 20, 1  # 50 steps at 981, 961, .., 1


@torch.no_grad()
def draw_gt(net: nn.Module, noise: Float32[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Pictures from `noise` by the course's sampling (Song et al. 2020, equation 12, eta 0).

    Linear betas, 50 steps down to alphas_cumprod[0]. The predicted x0 is kept in [-1, 1]; the
    direction is the network's eps as it is.

    Args:
        net: predicts eps from (xt, timesteps), in float64.
        noise: x_T.
    """
    betas = torch.linspace(1e-4, 0.02, NUM_TRAIN_TIMESTEPS, dtype=torch.float64)
    alphas_cumprod = (1 - betas).cumprod(0)
    xt = noise.double()
    for t in range(NUM_TRAIN_TIMESTEPS - STRIDE + OFFSET, 0, -STRIDE):
        now, after = alphas_cumprod[t], alphas_cumprod[max(t - STRIDE, 0)]
        eps = net(xt, torch.full((len(xt),), t))
        x0 = ((xt - (1 - now).sqrt() * eps) / now.sqrt()).clamp(-1, 1)
        xt = after.sqrt() * x0 + (1 - after).sqrt() * eps
    pixels = ((xt + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()
