"""Drawing faces from given noises with a face model."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.samplers import last, timesteps
from hw2.diffusion.schedule import linear_schedule
from hw2.diffusion.solvers.ddim import ddim
from hw2.errors import ConfigError
from hw2.faces.loading import NUM_TRAIN_TIMESTEPS, FaceModel
from hw2.pixels import refuse_undrawn, to_uint8
from hw2.precision import wants_bf16
from hw2.settings.faces import FaceSampling, PixelRange
from hw2.settings.values import Precision


def visited(settings: FaceSampling) -> list[int]:
    """The timesteps that `settings` visit.

    Raises ConfigError if they are impossible, or one alone that has little noise to take away.
    """
    count, spacing = settings.num_inference_steps, settings.timestep_spacing
    steps = timesteps(NUM_TRAIN_TIMESTEPS, count, spacing, settings.steps_offset)
    if count == 1 and steps[0] < NUM_TRAIN_TIMESTEPS // 10:
        raise ConfigError(
            f"num_inference_steps=1: with timestep_spacing {spacing} that is timestep {steps[0]}, "
            "which leaves the noise as it is: use 2 or more, or timestep_spacing trailing"
        )
    return steps


@torch.no_grad()
def draw_faces(
    model: FaceModel,
    x_start: Float[Tensor, "n 3 h w"],
    settings: FaceSampling,
    *,
    eta: float,
    seed: int,
    indices: Sequence[int],
    precision: Precision = "fp32",
) -> Float[Tensor, "n 3 h w"]:
    """Pictures, about in [-1, 1], by DDIM from `x_start`.

    Fresh noise (eta > 0) depends on (seed, timestep, index) alone: a start drawn with several eta
    under one index gets the same. Raises ConfigError for impossible `settings` or `eta`, unless
    `indices` has one for each start, and for drawn pixels that are not finite.
    """
    if len(indices) != len(x_start):  # one index alone would be given to all
        raise ConfigError(f"indices: {len(indices)} for {len(x_start)} noises: give each its own")
    device, shape = model.device, x_start.shape[1:]
    bf16 = wants_bf16(precision, device)

    def denoise(xt: Tensor, t: int) -> Tensor:
        steps = torch.full((len(xt),), t, dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return model.net(xt, steps).float()

    def fresh(t: int) -> Tensor:
        return CounterRandom(seed, t, indices).normal(Stream.ANCESTRAL, *shape).to(device)

    steps = ddim(
        denoise,
        linear_schedule(NUM_TRAIN_TIMESTEPS),
        x_start.to(device),
        fresh,
        visited(settings),
        eta=eta,
        clip_x0=settings.clip_x0,
        set_alpha_to_one=settings.set_alpha_to_one,
        use_clipped_model_output=settings.use_clipped_model_output,
    )
    end = last(steps)
    refuse_undrawn(end.xt)
    return end.xt.cpu()


def to_bytes(
    pictures: Float[Tensor, "n 3 h w"], pixel_range: PixelRange
) -> UInt8[Tensor, "n 3 h w"]:
    """Pictures as 0..255: [-1, 1] for all alike ("fixed"), or each one's own range ("minmax").

    "minmax" is what `save_image(normalize=True)` of torchvision does, and some graders with it: it
    stretches contrast.
    """
    if pixel_range == "minmax":
        low, high = (f(dim=(1, 2, 3), keepdim=True) for f in (pictures.amin, pictures.amax))
        pictures = 2 * (pictures - low) / (high - low).clamp(min=1e-5) - 1
    return to_uint8(pictures).contiguous()
