"""Coloured things with captions: tinted crops of the photos that ship inside packages."""

from functools import cache

import numpy as np
from PIL import Image

from hw2.data.layout import Split
from hw2.data.offline.photos import LUMA, photo
from hw2.data.offline.rng import scene_rng

# Things that one can tell apart at 32x32 without their colour; looked at one by one.
THINGS: dict[str, tuple[str, str]] = {
    "brick": ("skimage", "data/brick.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "grass": ("skimage", "data/grass.png"),
    "coins": ("skimage", "data/coins.png"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
    "print": ("skimage", "data/page.png"),
    "handwriting": ("skimage", "data/text.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
}
# Further things, which the captioned pictures of jobs.train_text2image show and CLIP's do not.
MORE_THINGS: dict[str, tuple[str, str]] = {
    "cat": ("skimage", "data/chelsea.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "retina": ("skimage", "data/retina.jpg"),
}
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.95, 0.25, 0.2),
    "green": (0.25, 0.8, 0.3),
    "blue": (0.25, 0.4, 0.95),
    "yellow": (0.95, 0.85, 0.2),
    "grey": (0.55, 0.55, 0.55),
}
# Each thing is trained in these too, so that what a thing is does not depend on its colour.
MORE_COLOURS: dict[str, tuple[float, float, float]] = {
    "orange": (0.95, 0.55, 0.15),
    "purple": (0.6, 0.3, 0.85),
    "cyan": (0.2, 0.8, 0.85),
    "pink": (0.95, 0.5, 0.7),
    "white": (1.0, 1.0, 1.0),
}
CLASSES = tuple((colour, thing) for colour in COLOURS for thing in THINGS)
# Each thing once and each colour twice: combinations that no training picture or caption shows.
HELD_OUT = frozenset(
    (tuple(COLOURS)[place % len(COLOURS)], thing) for place, thing in enumerate(THINGS)
)
SEEN = tuple(
    (colour, thing)
    for colour in (*COLOURS, *MORE_COLOURS)
    for thing in THINGS
    if (colour, thing) not in HELD_OUT
)
TEMPLATES = (
    "a photo of {colour} {thing}.",
    "a photo of {colour} {thing}",
    "a picture of {colour} {thing}",
    "{colour} {thing}",
    "{colour} {thing}.",
    "{thing} in {colour}",
    "{thing} in {colour}.",
    "a photo of {thing} in {colour}.",
    "a {colour} picture of {thing}.",
    "this is {colour} {thing}.",
)

SCENE_SIZE = 32
TILE = 60  # pixels; the least photo then has three rows of tiles
MIN_CROP = 36
MIN_DETAIL = 5.0  # mean step between neighbouring pixels, of 255: sky and blur show no thing
TRIES = 100
DARKEST = 0.2  # black would show no colour
JITTER = (0.8, 1.05)  # of each channel


def name_of(colour: str, thing: str) -> str:
    """The class as the course's files write names."""
    return f"{colour}_{thing}"


def held_out(name: str) -> bool:
    """Whether no training caption or picture shows the class `name`, such as "red_brick"."""
    return tuple(name.split("_", 1)) in HELD_OUT


@cache
def grey(thing: str) -> np.ndarray:
    """The luminance of a thing's photo, float32 (H, W) in 0..255, its darkest and lightest 1 % cut.

    Without this brick and flower would be nearly plain.
    """
    pixels = photo(*(THINGS | MORE_THINGS)[thing]).astype(np.float32) @ LUMA
    low, high = np.percentile(pixels, (1, 99))
    return (((pixels - low) / (high - low)).clip(0, 1) * 255).astype(np.float32)


def small(thing: str, top: int, left: int, side: int, size: int = SCENE_SIZE) -> np.ndarray:
    """A square of a thing's photo, scaled to float32 (size, size) in 0..255."""
    pixels = np.ascontiguousarray(grey(thing)[top : top + side, left : left + side])
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def shows_something(pixels: np.ndarray) -> bool:
    """Whether a square (32, 32) has detail enough to tell what it is."""
    steps = [float(np.abs(np.diff(pixels, axis=axis)).mean()) for axis in (0, 1)]
    return sum(steps) / 2 >= MIN_DETAIL


@cache
def tiles(thing: str, split: Split) -> tuple[tuple[int, int], ...]:
    """Top left corners of the split's tiles: every fifth is val, a knight's move apart.

    Tiles that show nothing are left out.
    """
    height, width = grey(thing).shape
    corners = (
        (row * TILE, column * TILE)
        for row in range(height // TILE)
        for column in range(width // TILE)
        if ((column + 2 * row) % 5 == 2) == (split == "val")
    )
    return tuple(place for place in corners if shows_something(small(thing, *place, TILE)))


def crop(rng: np.random.Generator, thing: str, split: Split) -> tuple[int, int, int]:
    """Top, left and side of a square inside one tile of the split, with something to see.

    Of TRIES squares that show nothing the last is taken.
    """
    corners = tiles(thing, split)
    for _ in range(TRIES):
        top, left = corners[rng.integers(len(corners))]
        side = int(rng.integers(MIN_CROP, TILE + 1))
        down, right = (int(v) for v in rng.integers(TILE - side + 1, size=2))
        top, left = top + down, left + right
        if shows_something(small(thing, top, left, side)):
            break
    return top, left, side


def scene(seed: int, split: Split, index: int, colour: str, thing: str) -> np.ndarray:
    """Picture `index` of a split, uint8 (32, 32, 3): a crop, mirrored or not, in one colour.

    The colour says nothing of the thing. Deterministic in its arguments.
    """
    rng = scene_rng(seed, split, index)
    pixels = small(thing, *crop(rng, thing, split))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    paint = np.array((COLOURS | MORE_COLOURS)[colour]) * rng.uniform(*JITTER, size=3)
    light = DARKEST + (1 - DARKEST) * pixels[..., None] / 255
    return np.rint((255 * paint * light).clip(0, 255)).astype(np.uint8)


def caption_of(index: int) -> str:
    """The caption of training picture `index`: every class in every wording, in turn."""
    turn, place = divmod(index, len(SEEN))
    colour, thing = SEEN[place]
    return TEMPLATES[(turn + place) % len(TEMPLATES)].format(colour=colour, thing=thing)


def train_scene(seed: int, index: int) -> np.ndarray:
    """Training picture `index`, uint8 (32, 32, 3): the seen classes in turn."""
    return scene(seed, "train", index, *SEEN[index % len(SEEN)])


def val_scene(seed: int, label: int, index: int) -> np.ndarray:
    """Val picture `index` of class `label` (of all CLASSES), uint8 (32, 32, 3)."""
    return scene(seed, "val", label << 20 | index, *CLASSES[label])
