"""Preprocessing against open_clip's own evaluation transform, to the bit."""

import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from hw2.clip.preprocessing import Preprocess
from hw2.errors import DataError
from tests.jobs.command import ROOT

SIZES = [(32, 32), (40, 31), (31, 40), (7, 90), (224, 100), (65, 64), (33, 99)]


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, 37, (24, 40)], ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_equal_to_open_clip(
    resize_mode: str, size: int | tuple[int, int], interpolation: str
) -> None:
    if resize_mode == "shortest" and isinstance(size, tuple):
        interpolation = "bicubic"  # open_clip forgets the other there
    config = {
        "size": size,
        "mean": (0.48, 0.45, 0.4),
        "std": (0.26, 0.26, 0.27),
        "interpolation": interpolation,
        "resize_mode": resize_mode,
        "fill_color": 7,
    }
    theirs = image_transform_v2(PreprocessCfg(**config), is_train=False)
    ours = Preprocess.of_config(config)
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        want = theirs(Image.fromarray(picture))
        pixels = ours.pixels(picture)
        assert pixels.shape == (*ours.size, 3)
        found = ours.normalised(torch.from_numpy(pixels.copy())[None])[0]
        assert torch.equal(found, want)


@pytest.mark.parametrize(
    ("resize_mode", "shape", "told"),
    [
        ("shortest", (20000, 1), "1x20000 would become 224x4480000: want 1 pixel to 64 megapixels"),
        ("shortest", (1, 2000), "2000x1 would become 448000x224: want 1 pixel to 64 megapixels"),
        ("longest", (1, 20000), "20000x1 would become 224x0: want 1 pixel to 64 megapixels"),
    ],
)
def test_strips_are_refused_before_they_are_resized(
    resize_mode: str, shape: tuple[int, int], told: str
) -> None:
    """Their files have some hundred bytes, and what they would become gigabytes."""
    resize = Preprocess((224, 224), (0.5,) * 3, (0.5,) * 3, resize_mode=resize_mode)
    with pytest.raises(DataError) as refused:
        resize.pixels(np.zeros((*shape, 3), np.uint8))
    assert str(refused.value) == told


def test_the_defaults_are_those_of_open_clip() -> None:
    cfg = open_clip.get_model_preprocess_cfg(open_clip.create_model("RN50", load_weights=False))
    found = Preprocess.of_config(cfg)
    assert found.size == (224, 224)
    assert found.mean == open_clip.OPENAI_DATASET_MEAN
    assert (found.interpolation, found.resize_mode) == ("bicubic", "shortest")


def test_readers_start_without_torch() -> None:
    """Processes that read pictures import these modules alone."""
    program = (
        "import sys, hw2.clip.preprocessing, hw2.clip.work; "
        "print([m for m in ('torch', 'open_clip', 'ray', 'mlflow') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
