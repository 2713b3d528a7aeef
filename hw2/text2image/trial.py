"""Whether the parts of a Stable Diffusion compute with each other, tried before all else."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hw2.disclosure import describe
from hw2.errors import CheckpointError
from hw2.text2image.model import StableDiffusion

MAX_SIDE = 512  # of latents: pictures of 4096 pixels
META = torch.device("meta")


@torch.no_grad()
def refuse_unusable(model: str, found: StableDiffusion) -> None:
    """Raise CheckpointError for a part whose config makes it fail, or give another shape.

    Libraries make a network of many a wrong setting, and end in the middle of drawing. The text
    encoder reads a text; denoiser and autoencoder compute shapes alone, without memory.
    """
    side = found.unet.config.sample_size
    if type(side) is not int or not 0 < side <= MAX_SIDE:
        raise CheckpointError(
            f"model={model}: its unet has sample_size={str(side)[:80]}: want 1 to {MAX_SIDE}"
        )
    latents = torch.zeros(1, *found.latent_shape, device=META)
    pictures = torch.zeros(1, 3, found.image_size, found.image_size, device=META)
    context = (1, found.tokenizer.model_max_length, found.text_width)
    told = _tried(model, "text_encoder", context, lambda: found.features(found.tokens([""])))
    time = torch.zeros(1, device=META)
    _tried(
        model,
        "unet",
        latents.shape,
        lambda: _shaped(found.unet, latents, time, told.to(META)).sample,
    )
    vae: Any = found.vae
    _tried(model, "vae", latents.shape, lambda: _shaped(_Encoding(vae), pictures))
    _tried(model, "vae", pictures.shape, lambda: _shaped(_Decoding(vae), latents))


class _Encoding(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pictures: Tensor) -> Tensor:
        return self.vae.encode(pictures).latent_dist.mean


class _Decoding(_Encoding):
    def forward(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents).sample


def _shaped(net: nn.Module, *given: Tensor) -> Any:
    """What `net` makes of tensors without numbers."""
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return functional_call(net, {name: value.to(META) for name, value in own.items()}, given)


def _tried(model: str, name: str, want: tuple[int, ...], use: Callable[[], Tensor]) -> Tensor:
    try:
        found = use()
        if tuple(found.shape) != tuple(want):
            raise ValueError(f"it makes {tuple(found.shape)}, want {tuple(want)}")
    except (MemoryError, ImportError):  # the last may hide a Ctrl-C
        raise
    except Exception as error:  # of whatever kind: a network made of any settings
        raise CheckpointError(
            f"model={model}: its {name} does not compute ({describe(error)}): give it and its "
            "config as they were saved"
        ) from None
    return found
