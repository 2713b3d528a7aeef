"""Pictures as numbers."""

from jaxtyping import Float, UInt8
from torch import Tensor


def to_unit(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Pictures 0..255 as float32 in [-1, 1], as all networks here take them."""
    return images.float() / 127.5 - 1
