"""Pictures as numbers."""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


def to_unit(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Pictures 0..255 as float32 in [-1, 1], as all networks here take them."""
    return images.float() / 127.5 - 1


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
