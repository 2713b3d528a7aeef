"""The course's sampling of faces by diffusers."""

import torch
from diffusers import DDIMScheduler
from torch import Tensor


def diffusers_ddim(net: torch.nn.Module, xt: Tensor, num_inference_steps: int) -> Tensor:
    """Pictures, about in [-1, 1], from the noises `xt` (B, 3, H, W), in float32, at eta 0."""
    scheduler = DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        set_alpha_to_one=False,
        steps_offset=1,
        clip_sample=True,
        timestep_spacing="leading",
    )
    scheduler.set_timesteps(num_inference_steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            xt = scheduler.step(net(xt, t.expand(len(xt))), t, xt, eta=0.0).prev_sample
    return xt
