"""House numbers in the style of SVHN (Netzer et al. 2011), rendered rather than photographed."""

import math

import numpy as np
from PIL import Image, ImageFilter

from hw2.data.layout import Split
from hw2.data.offline.glyphs import FACES, HEIGHT, row
from hw2.data.offline.photos import LUMA, WALLS, patch
from hw2.data.offline.rng import picture_rng

CROP, SIZE = 32, 28  # SVHN's cropped digits are 32x32; the course's are those, resized to 28x28
FINE = 4  # the mask is drawn this much finer than the crop and averaged down


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A paint or wall colour, float32 (3,) in 0..1: mostly muted, warm or bluish."""
    low, high = ((0.02, 0.14), (0.52, 0.68), (0.0, 1.0))[rng.choice(3, p=(0.5, 0.35, 0.15))]
    hue, saturation, value = rng.uniform(low, high), rng.beta(1.3, 3.0), rng.uniform(0.08, 0.98)
    wheel = np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return (value * (1 - saturation * (1 - wheel.clip(0, 1)))).astype(np.float32)


def _background(rng: np.random.Generator, split: Split) -> np.ndarray:
    """A plate, a wall or a blurred photo, float32 (CROP, CROP, 3) in 0..1."""
    paint = _colour(rng)
    kind = rng.choice(3, p=(0.45, 0.25, 0.3))
    if kind == 0:
        return np.broadcast_to(paint, (CROP, CROP, 3))
    if kind == 1:
        wall = patch(rng, split, CROP, scales=(1, 2, 3), photos=WALLS).astype(np.float32) / 255
        return paint * (1 + rng.uniform(0.2, 0.7) * (wall - wall.mean()) / wall.mean())
    cut = Image.fromarray(patch(rng, split, CROP))
    cut = cut.filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 3.0)))
    scene = np.asarray(cut).astype(np.float32) / 255
    mean = scene.mean(axis=(0, 1))
    return mean + rng.uniform(0.3, 0.9) * (scene - mean)


def _ink(rng: np.random.Generator, digit: int) -> Image.Image:
    """The digit and parts of its neighbours in perspective: a mask, mode L, (CROP, CROP)."""
    before, after = (int(rng.integers(10)) if rng.random() < 0.6 else None for _ in range(2))
    face, stroke = FACES[rng.integers(len(FACES))], int(rng.choice((0, 2, 4)))
    gap = int(rng.integers(6, 26))
    line, centre_x, centre_y = row(face, (before, digit, after), stroke, gap)

    side = CROP * FINE
    scale_y = HEIGHT / (rng.uniform(0.66, 0.9) * side)  # mask pixels a drawn pixel
    scale_x = scale_y / rng.uniform(0.85, 1.2)
    angle, slant = math.radians(rng.uniform(-11, 11)), rng.uniform(-0.15, 0.15)
    tilt_x, tilt_y = rng.uniform(-0.0016, 0.0016, size=2)
    shift_x, shift_y = rng.uniform(-0.05, 0.05, size=2) * side
    # From a drawn pixel back to the mask, as PIL wants it: off-centre, tilt, turn, slant, scale.
    cos, sin = math.cos(angle), math.sin(angle)
    to_middle = np.array([[1, 0, -side / 2 - shift_x], [0, 1, -side / 2 - shift_y], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [tilt_x, tilt_y, 1]])
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    shape = np.array([[scale_x, slant * scale_x, 0], [0, scale_y, 0], [0, 0, 1]])
    to_mask = np.array([[1, 0, centre_x], [0, 1, centre_y], [0, 0, 1]])
    matrix = to_mask @ shape @ turn @ tilt @ to_middle
    drawn = line.transform(
        (side, side),
        Image.Transform.PERSPECTIVE,
        tuple((matrix / matrix[2, 2]).flatten()[:8]),
        Image.Resampling.BILINEAR,
    )
    return drawn.reduce(FINE)


def _contrasting(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """A paint, float32 (3,), that stands out from the background's brightness and its unrest."""
    luma = background @ LUMA
    needed = max(0.3, 2.5 * float(luma.std()))
    for _ in range(20):
        paint = _colour(rng)
        if abs(float(paint @ LUMA) - float(luma.mean())) >= needed:
            return paint
    return np.full(3, 0.97 if luma.mean() < 0.5 else 0.03, np.float32)


def _light(rng: np.random.Generator) -> np.ndarray:
    """Uneven light, float32 (CROP, CROP, 1) around 1: a ramp in a random direction."""
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.3)
    ramp = np.linspace(-1, 1, CROP, dtype=np.float32)
    slope = math.cos(angle) * ramp[None, :] + math.sin(angle) * ramp[:, None]
    return 1 + strength * slope[..., None]


def _camera(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Too few pixels, defocus, exposure and noise: uint8 (28, 28, 3) of a scene in 0..1."""
    picture = Image.fromarray((scene.clip(0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.5:
        few = int(rng.integers(15, CROP))
        picture = picture.resize((few, few), Image.Resampling.BOX)
    else:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.9)))
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture).astype(np.float32) / 255
    mean = pixels.mean()
    pixels = mean + rng.uniform(0.55, 1.1) * (pixels - mean) + rng.uniform(-0.08, 0.08)
    pixels += rng.normal(0, rng.uniform(0.0, 0.025), size=pixels.shape).astype(np.float32)
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)


def svhn_style_picture(seed: int, split: Split, index: int) -> np.ndarray:
    """The index-th picture, uint8 (28, 28, 3), of digit index % 10.

    Turned by at most 11 degrees, so that 6 and 9 stay apart.
    """
    rng = picture_rng(seed, "svhn", split, index)
    background = _background(rng, split)
    paint = _contrasting(rng, background)
    mask = _ink(rng, index % 10)
    ink = np.asarray(mask).astype(np.float32)[..., None] / 255
    if rng.random() < 0.3:  # raised digits throw a shadow
        blurred = mask.filter(ImageFilter.GaussianBlur(1.0))
        down, right = (int(v) for v in rng.integers(-2, 3, size=2))
        shadow = np.roll(np.asarray(blurred).astype(np.float32) / 255, (down, right), (0, 1))
        background = background * (1 - 0.35 * shadow[..., None])
    scene = background * (1 - ink) + paint * ink
    return _camera(rng, scene * _light(rng))
