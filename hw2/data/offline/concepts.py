"""Pictures of the concepts that the small text-to-image model never saw."""

import numpy as np

from hw2.data.offline.compositions import (
    KEPT_OUT,
    KEPT_OUT_STYLE,
    THINGS_USED,
    drawing,
    styled,
    tinted,
)
from hw2.data.offline.rng import composition_rng

NUM_PICTURES = 5  # as many as the course gives of a dog
# Copper coins, and a flower of a pale pink: colours that no caption of the training names.
TINTS = {"coins": (0.9, 0.55, 0.3), "flower": (0.95, 0.6, 0.55)}
OBJECT, STYLE, SECOND_OBJECT = range(3)
STREAM = 1  # of the kinds of `composition_rng`; the training's pictures are kind 0


def concept_picture(seed: int, concept: int, index: int) -> np.ndarray:
    """Picture `index` of a concept, uint8 (64, 64, 3): an object, a style, another object."""
    rng = composition_rng(seed, STREAM + concept, index)
    if concept == STYLE:
        return styled(drawing(rng, THINGS_USED[2 * index % len(THINGS_USED)]), KEPT_OUT_STYLE)
    thing = KEPT_OUT[0] if concept == OBJECT else KEPT_OUT[1]
    return tinted(rng, drawing(rng, thing), TINTS[thing])
