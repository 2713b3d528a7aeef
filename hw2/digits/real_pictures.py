"""The real digits that handed in ones are held against: copies of them, and the judge on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hw2.data.digits import DigitSplit, read_splits
from hw2.data.handed_in.readings import picture_sum
from hw2.digits.judging import JUDGE_SIZE, judge_pictures
from hw2.disclosure import warn
from hw2.domains import DOMAINS, Domain
from hw2.errors import DataError
from hw2.metrics.digit_scores import DigitScores, Score, mean_score
from hw2.models.judge import Judge
from hw2.settings.data import DataConfig


def read_real(tree: Path | None) -> dict[str, DigitSplit]:
    """Both splits of a data tree, without its bad pictures; none without a tree.

    Raises DataError for a folder that is no such tree, or a broken one.
    """
    if tree is None:
        return {}
    if not (tree / "digits").is_dir():
        raise DataError(
            f"copies_of={tree}: has no folder digits: give a tree such as hw2_data, or make one "
            "with `python -m jobs.prepare_data`"
        )
    splits = read_splits(DataConfig(root=tree, skip_bad=True), JUDGE_SIZE, progress=True)
    for split in splits.values():
        if split.bad:
            first, more = split.bad[0], len(split.bad) - 1
            warn(f"copies_of={tree}: {first}{f'; and {more} more' * (more > 0)}: passed over")
    return splits


def real_sums(tree: Path | None, splits: Mapping[str, DigitSplit]) -> dict[str, str]:
    """The sums of the digits of the splits of `tree`, and where each lies."""
    found: dict[str, str] = {}
    for name, split in splits.items():
        pictures = split.images.movedim(1, -1).contiguous().numpy()
        for pixels, domain in zip(pictures, split.domains.tolist(), strict=True):
            found.setdefault(picture_sum(pixels), f"{tree}: {DOMAINS[domain]}, {name}")
    return found


def score_real(
    judge: Judge, splits: Mapping[str, DigitSplit], domains: Sequence[Domain]
) -> DigitScores:
    """`accuracy_real` of the val pictures, by domain and the mean; no scores without splits."""
    if not splits:
        return DigitScores(())
    val = splits["val"]
    read = judge_pictures(judge, val.images, val.digits, val.domains)
    parts = {domain: read.of_domain(DOMAINS.index(domain)) for domain in domains}
    scores = [
        Score("accuracy_real", domain, None, part.accuracy(), len(part))
        for domain, part in parts.items()
    ]
    return DigitScores((*scores, mean_score(scores)))
