"""A folder of concepts in the course's form, and settings for the tiny pipeline."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from hw2.settings.text2image import DrawSettings
from hw2.settings.training import TrainConfig

SAMPLE = DrawSettings(num_inference_steps=2, guidance_weight=1.0, precision="fp32")
TRAIN = TrainConfig(
    num_steps=6,
    batch_size=4,
    learning_rate=0.05,
    weight_decay=0.1,
    warmup_steps=0,
    checkpoint_every=3,
    precision="fp32",
)
BASELINE = [[50.0, 20.0]]


def write_input(folder: Path, sources: str = "01") -> Path:
    """input.json of concepts with three pictures each, 16x16."""
    random = np.random.default_rng(0)
    about = {}
    for number, source in enumerate(sources):
        (folder / source).mkdir(parents=True)
        for place in range(3):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / source / f"{place:02d}.jpg")
        token = f"<new{number + 1}>"
        about[source] = {
            "src_image": source,
            "token_name": token,
            "prompt": [f"a photo of a {token}"],
            "prompt_4_clip_eval": ["a photo of a cat"],
            "baseline": BASELINE,
            "initializer_token": "cat",
        }
    (folder / "input.json").write_text(json.dumps(about))
    return folder / "input.json"
