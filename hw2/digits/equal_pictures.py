"""The real digits, so that copies of them can be told."""

from pathlib import Path

from hw2.data.digits import read_splits
from hw2.data.handed_in.readings import picture_sum
from hw2.digits.judging import JUDGE_SIZE
from hw2.disclosure import warn
from hw2.domains import DOMAINS
from hw2.errors import DataError
from hw2.settings.data import DataConfig


def real_sums(tree: Path | None) -> dict[str, str]:
    """The sums of the digits of a data tree, and where each lies; none without a tree.

    Raises DataError for a folder that is no such tree, or a broken one.
    """
    if tree is None:
        return {}
    if not (tree / "digits").is_dir():
        raise DataError(
            f"copies_of={tree}: has no folder digits: give a tree such as hw2_data, or make one "
            "with `python -m jobs.prepare_data`"
        )
    found: dict[str, str] = {}
    splits = read_splits(DataConfig(root=tree, skip_bad=True), JUDGE_SIZE, progress=True)
    for name, split in splits.items():
        if split.bad:
            first, more = split.bad[0], len(split.bad) - 1
            warn(f"copies_of={tree}: {first}{f'; and {more} more' * (more > 0)}: passed over")
        pictures = split.images.movedim(1, -1).contiguous().numpy()
        for pixels, domain in zip(pictures, split.domains.tolist(), strict=True):
            found.setdefault(picture_sum(pixels), f"{tree}: {DOMAINS[domain]}, {name}")
    return found
