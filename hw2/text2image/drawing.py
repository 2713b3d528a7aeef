"""Drawing pictures of prompts: which picture gets which noise."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.samplers import check_sampler, sample
from hw2.pixels import refuse_undrawn, to_uint8
from hw2.precision import wants_bf16
from hw2.settings.text2image import DrawSettings
from hw2.text2image.autoencoding import decode
from hw2.text2image.model import StableDiffusion


def check_drawing(settings: DrawSettings, num_train_timesteps: int) -> None:
    """Raise ConfigError if `settings` are impossible with so many timesteps."""
    steps = settings.num_inference_steps
    check_sampler(settings.sampler, num_train_timesteps, steps, settings.eta)


@torch.no_grad()
def draw(
    model: StableDiffusion,
    prompts: Sequence[str],
    settings: DrawSettings,
    *,
    indices: Sequence[int],
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> UInt8[Tensor, "n 3 h w"]:
    """A picture of each prompt, 0..255.

    Its noise depends on (seed, index) alone: one index under two prompts has the same start. The
    text is encoded once, not at every step. `advance` is called at each of the sampler's
    steps. Raises ConfigError as `check_drawing` does, and for drawn pixels that are not finite.
    """
    tokens = model.tokens([*prompts, settings.negative_prompt])
    bf16, device = wants_bf16(settings.precision, model.device), model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        features = model.features(tokens).float()
    random = CounterRandom(seed, 0, indices)

    def network(xt: Tensor, t: Int64[Tensor, " b"], told: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return model.unet(xt, t, told).sample.float()

    def fresh(t: int) -> Tensor:
        noise = CounterRandom(seed, t, indices).normal(Stream.ANCESTRAL, *model.latent_shape)
        return noise.to(device)

    denoise = GuidedDenoiser(
        network,
        model.schedule,
        Guidance(settings.guidance_weight, settings.guidance_interval),
        model.prediction_type,
        (features[:-1],),
        (features[-1:].expand_as(features[:-1]),),
    )
    steps = sample(
        settings.sampler,
        denoise,
        model.schedule,
        random.normal(Stream.START, *model.latent_shape).to(device),
        fresh,
        num_inference_steps=settings.num_inference_steps,
        eta=settings.eta,
        clip_x0=False,
    )
    for end in steps:  # noqa: B007
        advance()
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        pictures = decode(model.vae, end.xt / model.scaling_factor)
    refuse_undrawn(pictures, settings.guidance_weight)
    return to_uint8(pictures).cpu()
