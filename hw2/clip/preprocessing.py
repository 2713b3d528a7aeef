"""What a CLIP model wants done to a picture before it sees it, without torch until the end.

The processes that read pictures start in a tenth of the time without torch, and hand over bytes,
a quarter of what floats would be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from hw2.data.images import MAX_PIXELS
from hw2.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocess:
    """open_clip's evaluation transform of an RGB picture, to the bit.

    `size` is (height, width); `resize_mode` "shortest" resizes the shorter side and cuts out the
    middle, "longest" fits all in and pads with `fill_color`, "squash" changes the proportions.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "Preprocess":
        """From open_clip's `preprocess_cfg`, complete with the model's size.

        Raises ValueError, TypeError or KeyError for one that no picture could be made by.
        """
        size, fill = config["size"], config.get("fill_color") or 0
        height, width = (size, size) if isinstance(size, int) else size
        if not (type(height) is type(width) is int and min(height, width) > 0):
            raise ValueError(f"size={str(size)[:80]}: want pixels")
        if height * width > MAX_PIXELS:
            raise ValueError(f"size={str(size)[:80]}: over {MAX_PIXELS // 10**6} megapixels")
        if type(fill) is not int or not 0 <= fill <= 255:
            raise ValueError(f"fill_color={str(fill)[:80]}: want 0 to 255")
        return cls(
            size=(height, width),
            mean=_colours(config["mean"], "mean"),
            std=_colours(config["std"], "std", 0.0),
            interpolation=config.get("interpolation") or "bicubic",
            resize_mode=config.get("resize_mode") or "shortest",
            fill_color=fill,
        )

    def pixels(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) of any size to uint8 (height, width, 3).

        Raises DataError for a strip that is resized to nothing, or to over MAX_PIXELS before its
        middle is cut out.
        """
        height, width = picture.shape[:2]
        target = self._resized(height, width)
        if not 0 < target[0] * target[1] <= MAX_PIXELS:
            raise DataError(
                f"{width}x{height} would become {target[1]}x{target[0]}: want 1 pixel to "
                f"{MAX_PIXELS // 10**6} megapixels"
            )
        if target != (height, width):
            bilinear = self.interpolation == "bilinear"
            how = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
            shape = target[::-1]
            picture = np.asarray(Image.fromarray(picture).resize(shape, how))
        return _centre(picture, self.size, self.fill_color)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the middle is cut out."""
        if self.resize_mode == "squash":
            return self.size
        if self.resize_mode == "shortest" and self.size[0] == self.size[1]:
            side = self.size[0]
            if width <= height:
                return int(side * height / width), side
            return side, int(side * width / height)
        ratios = height / self.size[0], width / self.size[1]
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        return round(height / ratio), round(width / ratio)

    def normalised(self, pixels: "Tensor") -> "Tensor":
        """uint8 (n, height, width, 3) to what the model takes, float32 (n, 3, height, width)."""
        import torch

        x = pixels.permute(0, 3, 1, 2).float().div(255)
        mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (self.mean, self.std))
        return x.sub_(mean).div_(std)


def _colours(given: Any, name: str, above: float = -1e6) -> tuple[float, ...]:
    """Three finite numbers; ValueError or TypeError for anything else."""
    if len(given) == 3 and all(isinstance(x, int | float) and above < x < 1e6 for x in given):
        return tuple(map(float, given))
    raise ValueError(f"{name}={str(given)[:80]}: want three numbers{' above 0' * (above == 0)}")


def _centre(picture: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """The middle `size` of a picture, padded with `fill` where it is smaller."""
    short = [max(want - have, 0) for want, have in zip(size, picture.shape[:2], strict=True)]
    if any(short):
        pads = [(lack // 2, (lack + 1) // 2) for lack in short]
        picture = np.pad(picture, [*pads, (0, 0)], constant_values=fill)
    top, left = (
        round((have - want) / 2) for want, have in zip(size, picture.shape[:2], strict=True)
    )
    return picture[top : top + size[0], left : left + size[1]]
