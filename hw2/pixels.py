"""Pictures as numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from hw2.errors import ConfigError


def stacked(pictures: Sequence[np.ndarray]) -> UInt8[Tensor, "n 3 h w"]:
    """Decoded pictures (h, w, 3), one or more, all of one size."""
    return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).contiguous()


def to_unit(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Pictures 0..255 as float32 in [-1, 1], as all networks here take them."""
    return images.float() / 127.5 - 1


def to_uint8(pictures: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 3 h w"]:
    """Its inverse, the fixed map [-1, 1] -> 0..255 of every figure and file.

    Clamped, rounded half up, the same for every picture: brightness is never stretched. nan
    becomes 128, mid-grey.
    """
    pictures = pictures.detach().float().nan_to_num(nan=0.0)
    return ((pictures.clamp(-1, 1) + 1) * 127.5 + 0.5).floor().to(torch.uint8)


def refuse_undrawn(pictures: Tensor, guidance_weight: float | None = None) -> None:
    """Raise ConfigError for nan or infinity in drawn `pictures`, which bytes would show as grey.

    The weight is named as what may have led there; without one the noise that was given is.
    """
    if bool(pictures.isfinite().all()):
        return
    at = "noise" if guidance_weight is None else f"guidance_weight={guidance_weight:g}"
    other = "other noises" if guidance_weight is None else "a smaller guidance_weight"
    raise ConfigError(
        f"{at}: some drawn pixels are nan or infinite: take {other}, or other weights of the "
        "network"
    )


def crops(
    pictures: Float[Tensor, "b c _ _"],
    top: Int64[Tensor, " b"],
    left: Int64[Tensor, " b"],
    height: int,
    width: int,
) -> Tensor:
    """Of each picture the (height, width) from its `top` and `left` on, which must be within.

    Where the pictures are; no place is read back to the processor, which would wait for it.
    """
    rows = top[:, None] + torch.arange(height, device=top.device)
    columns = left[:, None] + torch.arange(width, device=left.device)
    shape = len(pictures), pictures.shape[1], height
    high = pictures.gather(2, rows[:, None, :, None].expand(*shape, pictures.shape[3]))
    return high.gather(3, columns[:, None, None, :].expand(*shape, width))
