"""A course-like tree made by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def course_tree(tmp_path: Path) -> Path:
    """Six random 28x28 RGB pictures a domain and split, in the course's layout."""
    rng = np.random.default_rng(0)
    for domain in ("mnistm", "svhn"):
        folder = tmp_path / "digits" / domain / "data"
        folder.mkdir(parents=True)
        for first, split in ((0, "train"), (6, "val")):
            rows = []
            for i in range(first, first + 6):
                pixels = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:05d}.png")
                rows.append(f"{i:05d}.png,{i % 10}\n")
            (folder.parent / f"{split}.csv").write_text("image_name,label\n" + "".join(rows))
    return tmp_path
