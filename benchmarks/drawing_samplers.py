"""The samplers that drawing_peers.py sets against each other, on our digit network."""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import guide
from hw2.digits.drawing import DigitModel, draw
from hw2.domains import DIGITS
from hw2.settings.digits import SampleSettings

W = 2.0

Draw = Callable[[int, range], tuple[Tensor, int]]  # domain, indices -> pictures 0..255, calls


def ours(model: DigitModel, settings: SampleSettings) -> Draw:
    """The product's own loop."""

    def act(domain: int, indices: range) -> tuple[Tensor, int]:
        drawn = draw(model, settings, domain=domain, indices=indices, seed=0)
        return drawn.images.flatten(0, 1), drawn.num_network_calls

    return act


def start_of(model: DigitModel, indices: range) -> Tensor:
    """The noises that our loop starts from, for all digits."""
    start = CounterRandom(0, 0, indices).normal(Stream.START, 3, 28, 28)
    return start.repeat(10, 1, 1, 1).to(model.device)


def to_bytes(x: Tensor) -> Tensor:
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def pipeline(
    model: DigitModel, name: str, steps: int, each: Mapping[str, Any] | None = None, **more: Any
) -> Draw:
    """diffusers' scheduler `name`, with `each` at each step, called as its pipelines call it."""
    import diffusers

    def act(domain: int, indices: range) -> tuple[Tensor, int]:
        scheduler = getattr(diffusers, name)(
            num_train_timesteps=model.schedule.num_train_timesteps,
            trained_betas=model.schedule.betas.tolist(),
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            **more,
        )
        scheduler.set_timesteps(steps)
        digit = torch.tensor(DIGITS, device=model.device).repeat_interleave(len(indices))
        pairs = zip(*model.branches(digit, torch.full_like(digit, domain)), strict=True)
        told = [torch.cat(pair) for pair in pairs]
        torch.manual_seed(indices[0])
        xt = start_of(model, indices)
        for t in scheduler.timesteps:
            doubled = scheduler.scale_model_input(torch.cat([xt, xt]), t)
            at = t.to(model.device).expand(len(doubled))
            cond, uncond = model.net(doubled, at, *told).float().chunk(2)
            xt = scheduler.step(guide(cond, uncond, W), t, xt, **(each or {})).prev_sample
        return to_bytes(xt), 2 * len(scheduler.timesteps)

    return act


class ForPackage(nn.Module):
    """Our network as denoising-diffusion-pytorch's sampler calls one: classes 0..19."""

    channels = out_dim = 3
    random_or_learned_sinusoidal_cond = False

    def __init__(self, model: DigitModel) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward_with_cond_scale(self, x: Tensor, t: Tensor, classes: Tensor, **told: Any) -> Any:
        """Two calls, as its own network makes; the plain form of guidance."""
        cond, uncond = self.model.branches(classes % 10, classes // 10)
        answers = [self.model.net(x, t, *branch).float() for branch in (cond, uncond)]
        self.calls += 2
        return guide(answers[0], answers[1], told["cond_scale"] - 1), answers[1]


def package(model: DigitModel, steps: int) -> Draw:
    """The sampler of denoising-diffusion-pytorch's guided model, with its default eta of 1."""
    from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion

    net, total = ForPackage(model), model.schedule.num_train_timesteps
    told = {"objective": "pred_v", "beta_schedule": "cosine", "sampling_timesteps": steps}
    sampler = GaussianDiffusion(net, image_size=28, timesteps=total, **told).to(model.device)

    def act(domain: int, indices: range) -> tuple[Tensor, int]:
        torch.manual_seed(indices[0])
        net.calls = 0
        digit = torch.tensor(DIGITS, device=model.device).repeat_interleave(len(indices))
        classes = digit + 10 * domain
        start = start_of(model, indices)
        own = patch("torch.randn", lambda *shape, **told: start)  # which it calls for that alone
        with own, contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            drawn = sampler.sample(classes, cond_scale=1 + W)
        return to_bytes(2 * drawn - 1), net.calls

    return act
