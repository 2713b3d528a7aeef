"""The digits as a job's settings name them; without the networks, which take seconds to import."""

from hw2.data.digits import DigitSplit, read_split
from hw2.data.layout import SPLITS, Split
from hw2.settings.data import DataConfig


def read_digits(
    data: DataConfig, split: Split, image_size: int, progress: bool = False
) -> DigitSplit:
    """A split of the digits as `data` says."""
    return read_split(
        data.root,
        split,
        image_size=image_size,
        skip_bad=data.skip_bad,
        cache=data.cache,
        progress=progress,
    )


def read_splits(data: DataConfig, image_size: int, progress: bool = False) -> dict[str, DigitSplit]:
    """Both splits, "train" and "val", checked and packed."""
    return {name: read_digits(data, name, image_size, progress) for name in SPLITS}
