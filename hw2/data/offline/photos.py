"""Patches of the photos that ship inside the scikit-image and scikit-learn wheels."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from hw2.data.layout import Split
from hw2.errors import DataError

# Colour photos with texture. motorcycle_right shows the same scene as motorcycle_left, shifted,
# so that it would carry val regions into train.
PHOTOS: tuple[tuple[str, str], ...] = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/ihc.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
# Grey surfaces, tinted by the caller: house walls.
WALLS: tuple[tuple[str, str], ...] = (
    ("skimage", "data/brick.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/grass.png"),
)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
TRAIN_SHARE = 0.8  # of each photo's width, from the left; val has the rest


@cache
def package_folder(package: str) -> Path:
    """Where an installed package lies, without the seconds that importing it takes."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"the package {package} is not installed: run `pip install -e .`")
    return Path(spec.origin).parent


@cache
def photo(package: str, name: str) -> np.ndarray:
    """One shipped photo as uint8 (H, W, 3), shrunk so that its shorter side is at most 512."""
    path = package_folder(package) / name
    if not path.is_file():
        raise DataError(f"{package} has no {name}: install the version in requirements.lock")
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    shrink = 512 / min(picture.size)
    if shrink < 1:
        size = (round(picture.width * shrink), round(picture.height * shrink))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture).copy()
    pixels.setflags(write=False)
    return pixels


def region(width: int, split: Split) -> tuple[int, int]:
    """The columns [start, stop) of a photo of that width that a split may show."""
    border = int(width * TRAIN_SHARE)
    return (0, border) if split == "train" else (border, width)


def patch(
    rng: np.random.Generator,
    split: Split,
    size: int,
    scales: tuple[int, ...] = (1, 2),
    photos: tuple[tuple[str, str], ...] = PHOTOS,
) -> np.ndarray:
    """A random patch, uint8 (size, size, 3), from the split's own region of a random photo.

    Args:
        rng: the picture's own generator.
        split: the region to cut from: train left, val right, disjoint.
        size: side of the patch that comes back.
        scales: the patch is cut `scale * size` wide for a random one of these and averaged down.
        photos: (package, file) pairs to choose from.
    """
    pixels = photo(*photos[rng.integers(len(photos))])
    left, right = region(pixels.shape[1], split)
    fitting = [s for s in scales if s * size <= min(right - left, pixels.shape[0])]
    scale = fitting[rng.integers(len(fitting))]
    side = scale * size
    top = int(rng.integers(pixels.shape[0] - side + 1))
    start = left + int(rng.integers(right - left - side + 1))
    cut = pixels[top : top + side, start : start + side]
    blocks = cut.reshape(size, scale, size, scale, 3).astype(np.float32).mean(axis=(1, 3))
    return np.rint(blocks).astype(np.uint8)
