"""`jobs.prepare_data`: which source fills the digits tree."""

import os
from importlib import import_module
from pathlib import Path

from hw2.data.tree import PictureSource, write_digits
from hw2.errors import ConfigError
from hw2.settings.values import SourceName


def prepare_digits(
    out: Path,
    seed: int = 0,
    num_train: int = 20_000,
    num_val: int = 2_000,
    *,
    source: SourceName = "offline",
    cache: Path | None = None,
    workers: int | None = None,
) -> None:
    """Build OUT/digits in the course's layout; go on with it if it was interrupted.

    Args:
        out: the data tree.
        seed: 0 <= seed < 2**64; decides every byte together with the sizes.
        num_train: train pictures a domain (torchvision: at most).
        num_val: val pictures a domain (torchvision: at most).
        source: made from installed packages, the real MNIST and SVHN through torchvision, or
            another file of hw2/data/sources.
        cache: where what is downloaded is kept; by default OUT/.downloads.
        workers: processes; by default all processors, or one for a small tree.

    Raises:
        ConfigError: an impossible seed or size, or a folder with a tree made otherwise.
        DataError: a package or data set that the pictures come from is missing.
    """
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed={seed} is out of range: use 0..2**64-1")
    for key, value in (("num_train", num_train), ("num_val", num_val)):
        if not 10 <= value <= 1_000_000:
            raise ConfigError(f"{key}={value} is out of range: use 10..1000000 pictures a domain")
    module = import_module(f"hw2.data.sources.{source}")
    kept = cache or out / ".downloads"
    pictures: PictureSource = module.make(seed, num_train, num_val, kept)
    if source == "torchvision":
        workers = 1  # no rendering to share, and the arrays are too large to copy to each process
    if workers is None:
        small = num_train + num_val < 2_000  # a second process takes longer to start
        workers = 1 if small else len(os.sched_getaffinity(0))
    write_digits(out, pictures, workers)
