"""Faces from the part of Labeled Faces in the Wild that ships inside scikit-image."""

from functools import cache

import numpy as np
from PIL import Image

from hw2.data.offline.photos import package_folder
from hw2.data.offline.rng import face_rng
from hw2.errors import DataError

NUM_FACES = 100  # the first half of the file; the rest shows no faces
FACE_SIZE = 32  # side of a picture: the course's network halves it five times
MAX_SHIFT = 1.0  # pixels of the original, which is 25 wide
MAX_ZOOM = 0.08


@cache
def faces() -> np.ndarray:
    """The shipped faces, float32 (100, 25, 25) in [0, 1], grey."""
    path = package_folder("skimage") / "data" / "lfw_subset.npy"
    if not path.is_file():
        raise DataError("skimage has no lfw_subset: install the version in requirements.lock")
    pixels = np.load(path, allow_pickle=False)[:NUM_FACES].astype(np.float32)
    pixels.setflags(write=False)
    return pixels


def face_picture(seed: int, index: int) -> np.ndarray:
    """Picture `index`, uint8 (32, 32, 3): the faces in turn, each time a little otherwise.

    Mirrored or not, moved by up to a pixel, and up to 8 % larger, so that a small network has more
    to learn than a hundred pictures by heart. Deterministic in (seed, index).
    """
    rng = face_rng(seed, index)
    pixels = faces()[index % NUM_FACES]
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    side = pixels.shape[0]
    span = side / (1 + MAX_ZOOM * rng.random())
    room = (side - span) / 2
    left, top = room + np.clip(rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2), -room, room)
    enlarged = Image.fromarray(np.ascontiguousarray(pixels), mode="F").resize(
        (FACE_SIZE, FACE_SIZE), Image.Resampling.BICUBIC, box=(left, top, left + span, top + span)
    )
    grey = np.clip(np.rint(np.asarray(enlarged) * 255), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
