"""A CLIP of a few weights, and sets of small pictures to classify."""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from hw2.models.clip import build_clip
from hw2.weights import save_weights

MODEL_CFG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS_CFG = {
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
NAMES = ("red_brick", "apple", "the_sea", "dog", "aquarium_fish", "oak_tree")


def lively_clip(seed: int = 3) -> open_clip.CLIP:
    """An untrained model that tells pictures and texts apart, as one at the start hardly does."""
    net = build_clip(MODEL_CFG, seed=seed).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name != "logit_scale":
                parameter.mul_(3)
    return net


def save_clip(path: Path, seed: int = 3) -> Path:
    """`lively_clip` as jobs.train_clip leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"kind": "clip", "model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG, "seed": seed}
    save_weights(path, {"ema": lively_clip(seed)}, meta)
    return path


def write_set(root: Path, each: int, sides: tuple[int, int] = (18, 16)) -> Path:
    """`each` random pictures of each class of NAMES in ROOT/val, and ROOT/id2label.json."""
    val = root / "val"
    val.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for label in range(len(NAMES)):
        for number in range(each):
            pixels = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
            pixels[..., label % 3] //= 2 + number % 3
            Image.fromarray(pixels).save(val / f"{label}_{number}.png")
    (root / "id2label.json").write_text(json.dumps({str(i): n for i, n in enumerate(NAMES)}))
    return val
