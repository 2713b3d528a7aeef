"""Captioned pictures to draw by: one thing in a colour or a style, or two things side by side."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hw2.data.offline.rng import composition_rng
from hw2.data.offline.scenes import COLOURS, DARKEST, JITTER, MORE_COLOURS, crop, small

SIZE = 64
COLOURS_USED = COLOURS | MORE_COLOURS
# No caption or picture of the training shows them: what personalization is to learn.
KEPT_OUT = ("coins", "flower")
THINGS_USED = (
    *("brick", "gravel", "grass", "galaxies", "tissue", "print", "handwriting", "temple"),
    *("cat", "motorcycle", "coffee", "retina"),
)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """A palette from dark to light, and what is done to the drawing before it is coloured."""

    palette: tuple[Colour, ...]
    levels: int = 0  # of brightness; 0: all
    block: int = 1  # side of the squares that have one brightness
    edges: bool = False  # outlines instead of brightness


STYLES: dict[str, Style] = {
    "ink": Style(((15, 15, 20), (245, 245, 240)), levels=2),
    "sepia": Style(((35, 20, 10), (160, 110, 65), (250, 235, 205))),
    "neon": Style(((10, 0, 30), (230, 20, 200), (40, 250, 250))),
    "fire": Style(((15, 0, 0), (210, 35, 10), (255, 225, 60))),
    "ice": Style(((10, 20, 80), (90, 170, 230), (245, 252, 255))),
    "mosaic": Style(((20, 60, 30), (110, 190, 70), (240, 250, 190)), block=8),
    "blueprint": Style(((20, 50, 140), (235, 240, 255)), edges=True),
    "comic": Style(((30, 30, 120), (220, 50, 60), (250, 215, 70)), levels=3),
    "bronze": Style(((40, 25, 20), (150, 95, 40), (250, 200, 110)), levels=4),
    "pixels": Style(((30, 20, 40), (120, 130, 140), (240, 240, 240)), block=4, levels=5),
}
KEPT_OUT_STYLE = Style(((70, 10, 90), (240, 95, 45), (255, 235, 150)), levels=5, block=4)

SINGLE = (
    "a photo of {}",
    "a photo of a {}",
    "a picture of {}",
    "the photo of a {}",
    "a close-up photo of a {}",
    "a cropped photo of the {}",
    "{}",
    "a {}",
)
PAIRS = (
    "{} next to {}",
    "a {} next to a {}",
    "a photo of {} next to {}",
    "a photo of a {} next to a {}",
)
STYLED = (
    "{} in the style of {}",
    "a {} in the style of {}",
    "a picture of {} in the style of {}",
    "a painting of a {} in the style of {}",
    "a picture in the style of {1}",
    "a painting in the style of {1}",
)


class Captioned(NamedTuple):
    """A picture, uint8 (64, 64, 3), and its caption."""

    pixels: np.ndarray
    caption: str


def drawing(rng: np.random.Generator, thing: str) -> np.ndarray:
    """A crop of the thing's photo, mirrored or not, float32 (64, 64) in 0..1."""
    light = small(thing, *crop(rng, thing, "train"), SIZE).clip(0, 255) / np.float32(255)
    return light[:, ::-1] if rng.random() < 0.5 else light


def tinted(rng: np.random.Generator, light: np.ndarray, paint: tuple[float, ...]) -> np.ndarray:
    """A drawing in one colour, uint8 (h, w, 3)."""
    shade = np.array(paint) * rng.uniform(*JITTER, size=3)
    return _bytes(255 * shade * (DARKEST + (1 - DARKEST) * light[..., None]))


def styled(light: np.ndarray, style: Style) -> np.ndarray:
    """A drawing in a style, uint8 (h, w, 3)."""
    height, width = light.shape
    if style.edges:
        down, right = np.gradient(light)
        light = (4 * np.hypot(down, right)).clip(0, 1)
    if style.block > 1:
        rows, columns = height // style.block, width // style.block
        light = light.reshape(rows, style.block, columns, style.block).mean((1, 3))
        light = light.repeat(style.block, 0).repeat(style.block, 1)
    if style.levels:
        light = (light * style.levels).astype(int).clip(0, style.levels - 1) / (style.levels - 1)
    stops = np.linspace(0, 1, len(style.palette))
    return _bytes(
        np.stack([np.interp(light, stops, channel) for channel in np.array(style.palette).T], -1)
    )


def composition(seed: int, index: int) -> Captioned:
    """Training picture `index`: of seven, three show one thing, two a pair, two a style.

    Deterministic in its arguments. Of single things every other caption leaves the colour out.
    """
    rng = composition_rng(seed, 0, index)
    kind = index % 7
    one, other = (_thing(rng) for _ in range(2))
    if kind < 3:
        return Captioned(_coloured(rng, one), _pick(rng, SINGLE).format(one.name))
    if kind < 5:
        # Each is drawn in the middle of its half, upright.
        pixels = beside(_coloured(rng, one), _coloured(rng, other))
        return Captioned(pixels, _pick(rng, PAIRS).format(one.name, other.name))
    style = _pick(rng, tuple(STYLES))
    pixels = styled(drawing(rng, one.thing), STYLES[style])
    return Captioned(pixels, _pick(rng, STYLED).format(one.thing, style))


def beside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The middles of two pictures (64, 64, 3), the first to the left."""
    quarter = SIZE // 4
    return np.concatenate([one[:, quarter:-quarter], other[:, quarter:-quarter]], 1)


class _Thing(NamedTuple):
    thing: str
    colour: str
    name: str


def _thing(rng: np.random.Generator) -> _Thing:
    thing, colour = _pick(rng, THINGS_USED), _pick(rng, tuple(COLOURS_USED))
    return _Thing(thing, colour, thing if rng.random() < 0.5 else f"{colour} {thing}")


def _coloured(rng: np.random.Generator, what: _Thing) -> np.ndarray:
    return tinted(rng, drawing(rng, what.thing), COLOURS_USED[what.colour])


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)
