"""A folder as jobs.generate_concepts leaves it, of random pictures, and its input.json."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

HUES = {"0": (0.9, 0.3, 0.2), "1": (0.2, 0.4, 0.9), "2": (0.9, 0.8, 0.3)}
TEXTS = ("a photo of a dog.", "the sea")
TOGETHER = ("a <new1> next to a <new3>", "a <new1> in the style of <new2>")
WAYS = {"separate": 90, "joint": 60, "merged": 40}  # and how noisy they are
SIDE = 20


def write_picture(path: Path, hue: tuple[float, ...], noise: float, seed: int) -> None:
    """Noise around a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal(0, noise, (SIDE, SIDE, 3)) + 255 * np.array(hue)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_input(root: Path) -> Path:
    """input.json in the course's form, three concepts of three pictures and two prompts each."""
    about = {}
    for place, (source, hue) in enumerate(HUES.items()):
        for n in range(3):
            write_picture(root / source / f"{n}.jpg", hue, 30, seed=100 * place + n)
        token = f"<new{place + 1}>"
        about[source] = {
            "src_image": source,
            "token_name": token,
            "prompt": [f"a photo of a {token}", f"a {token} by the sea"],
            "prompt_4_clip_eval": list(TEXTS),
            "baseline": [[-100, -100], [100, -100]],  # never missed, never reached
        }
    (root / "input.json").write_text(json.dumps(about))
    return root / "input.json"


def write_generated(folder: Path, count: int = 7, together: bool = True, noise: float = 60) -> Path:
    """`count` pictures of each prompt."""
    for source, hue in HUES.items():
        for prompt in range(2):
            stem = f"{source}/{prompt}/source{source}_prompt{prompt}"
            for n in range(count):
                write_picture(folder / f"{stem}_{n}.png", hue, noise, seed=n)
    if together:
        for way, spread in WAYS.items():
            for prompt, pair in enumerate(("02", "01")):
                hue = tuple(np.mean([HUES[source] for source in pair], 0))
                for n in range(count):
                    stem = f"together/{way}/{prompt}/{way}_prompt{prompt}"
                    write_picture(folder / f"{stem}_{n}.png", hue, spread, seed=n)
        about = {"prompts": list(TOGETHER), "ways": list(WAYS)}
        (folder / "together" / "prompts.json").write_text(json.dumps(about))
    return folder
