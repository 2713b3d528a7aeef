"""A folder of small submissions, good and bad, as students hand them in."""

from pathlib import Path

import numpy as np
from PIL import Image

from hw2.domains import DIGITS, DOMAINS


def picture(seed: int, width: int = 28, height: int = 28) -> Image.Image:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_student(folder: Path, count: int = 2, seed: int = 0) -> None:
    """`count` pictures of each digit and domain in the course's names."""
    for place, domain in enumerate(DOMAINS):
        (folder / domain).mkdir(parents=True)
        for digit in DIGITS:
            for index in range(1, count + 1):
                name = f"{digit}_{index:03d}.png"
                picture(1000 * seed + 100 * place + 10 * digit + index).save(folder / domain / name)


def write_bad_student(folder: Path, outside: Path) -> None:
    """No folder svhn, and in mnistm all that can be wrong with a file; `outside` is a picture.

    Nine pictures count, of which 5_001.png, 6_001.png and 7_001.png can be read.
    """
    mnistm = folder / "mnistm"
    mnistm.mkdir(parents=True)
    picture(1).save(mnistm / "0_001.png")
    (mnistm / "0_001.png").write_bytes((mnistm / "0_001.png").read_bytes()[:90])
    (mnistm / "1_001.png").write_text("this is no picture")
    (mnistm / "2_001.png").symlink_to(outside)
    (mnistm / "3_001.png").mkdir()
    (mnistm / "4_001.png").touch()
    picture(5, 56, 40).save(mnistm / "5_001.png")
    picture(6).convert("L").save(mnistm / "6_001.png")
    picture(7).save(mnistm / "7_001.png")
    Image.new("L", (2001, 2000)).save(mnistm / "8_001.png")
    picture(8).save(mnistm / "10_001.png")
    picture(9).save(mnistm / "nine.png")
    (mnistm / "9_001.txt").write_text("not a picture")
    (mnistm / ".hidden.png").touch()
