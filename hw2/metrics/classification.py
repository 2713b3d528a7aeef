"""Scores of a classification: top-k accuracy, confusion, each class, the pairs taken for another.

Predictions and labels are class indices 0..c-1 on the CPU. Nothing loops over pictures.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from hw2.errors import ConfigError, DataError
from hw2.metrics.intervals import UNDEFINED, Interval, normal_interval, wilson


@dataclass(frozen=True)
class ClassScore:
    """How the `n` pictures of class `index` fare, and how the class fares as a prediction.

    `recall` and `top5` (share of its pictures with the class among the five best) are UNDEFINED
    without pictures, `precision` where the class is never predicted. `mistaken_for` is the class
    that most of its mistakes name (the lower of two), `times` of them; None without mistakes.
    """

    index: int
    n: int
    recall: Interval
    precision: Interval
    predicted: int
    mistaken_for: int | None
    times: int
    top5: Interval = UNDEFINED


@dataclass(frozen=True)
class ConfusedPair:
    """Pictures of class `truth` that were taken for `predicted`; `share` of all of `truth`."""

    truth: int
    predicted: int
    times: int
    share: Interval


def top_k_accuracy(top: Int64[Tensor, "n m"], labels: Int64[Tensor, " n"], k: int) -> Interval:
    """Share of pictures whose label is among their k best classes, with Wilson's limits.

    `top` holds the m best classes of each picture, best first. Raises ConfigError unless
    1 <= k <= m, DataError for no pictures.
    """
    return wilson(int(_among(top, labels, k).sum()), len(labels))


def hits_per_class(
    top: Int64[Tensor, "n m"], labels: Int64[Tensor, " n"], k: int, num_classes: int
) -> Int64[Tensor, " c"]:
    """How many pictures of each class have it among their k best.

    Raises ConfigError unless 1 <= k <= m, DataError for a label outside 0..num_classes-1.
    """
    _check_classes("labels", labels, num_classes)
    return torch.bincount(labels[_among(top, labels, k)], minlength=num_classes)


def confusion_matrix(
    predictions: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], num_classes: int
) -> Int64[Tensor, "c c"]:
    """Numbers of pictures, one row a true class and one column a predicted one.

    Raises DataError for a class outside 0..num_classes-1.
    """
    _check_classes("predictions", predictions, num_classes)
    _check_classes("labels", labels, num_classes)
    cells = labels * num_classes + predictions
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)


def mean_per_class_recall(confusion: Int64[Tensor, "c c"]) -> Interval:
    """The mean recall of the classes that have pictures (balanced accuracy).

    The classes count as given and their pictures as drawn. The limits are those of a linear
    function of k proportions (Price & Bonett 2004, Comput. Stat. Data Anal. 45:449), for
    which 2/k hits and 2/k misses are added to each class, kept inside [0, 1]. Of many classes that
    adds next to nothing, and p (1 - p) / n of the share p found in n pictures is too small by
    p (1 - p) / n^2 of the true one, all of it where n = 1: that of the mean recall is added, which
    is a little too much where recalls differ. Raises DataError for no pictures at all.
    """
    there = confusion.sum(1) > 0
    if not there.any():
        raise DataError("the mean recall of no pictures: need at least one")
    n, hits, k = confusion.sum(1)[there].double(), confusion.diagonal()[there].double(), there.sum()
    shifted, sizes = (hits + 2 / k) / (n + 4 / k), n + 4 / k
    value = float((hits / n).mean())
    variances = shifted * (1 - shifted) / sizes + value * (1 - value) / n.square()
    around = normal_interval(float(shifted.mean()), float(variances.sum()) / int(k) ** 2)
    return Interval(value, max(min(around.low, value), 0.0), min(max(around.high, value), 1.0))


def class_scores(
    confusion: Int64[Tensor, "c c"], top5_hits: Int64[Tensor, " c"]
) -> list[ClassScore]:
    """The score of each class, in order of index; `top5_hits` are those of `hits_per_class`."""
    wrong = confusion - confusion.diag().diag()
    # torch's max may return any of several equal columns; argmax returns the first.
    for_class = wrong.argmax(1)
    sizes, predictions, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    times = wrong.gather(1, for_class[:, None])[:, 0]
    columns = (sizes, right, predictions, for_class, times, top5_hits)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        ClassScore(
            index=index,
            n=n,
            recall=_share(right, n),
            precision=_share(right, predicted),
            predicted=predicted,
            mistaken_for=other if times else None,
            times=times,
            top5=_share(hits, n),
        )
        for index, (n, right, predicted, other, times, hits) in enumerate(rows)
    ]


def worst_pairs(confusion: Int64[Tensor, "c c"], count: int) -> list[ConfusedPair]:
    """The `count` kinds of mistake made most often; of equals that of the lower truth first,
    then of the lower prediction. Fewer where there are not so many. Raises ConfigError for a
    `count` below 1.
    """
    if count < 1:
        raise ConfigError(f"count={count} worst pairs: need 1 or more")
    wrong = confusion - confusion.diag().diag()
    truths, predictions = wrong.nonzero(as_tuple=True)  # in order of truth, then prediction
    times = wrong[truths, predictions]
    order = times.argsort(descending=True, stable=True)[:count]
    sizes = confusion.sum(1)[truths[order]]
    rows = zip(*(x.tolist() for x in (truths[order], predictions[order], times[order], sizes)),
               strict=True)  # fmt: skip
    return [ConfusedPair(t, p, times, wilson(times, n)) for t, p, times, n in rows]


def _among(top: Int64[Tensor, "n m"], labels: Int64[Tensor, " n"], k: int) -> Bool[Tensor, " n"]:
    if not 1 <= k <= top.shape[1]:
        raise ConfigError(f"k={k}: the {top.shape[1]} best classes of each picture are known")
    return (top[:, :k] == labels[:, None]).any(1)


def _share(part: int, n: int) -> Interval:
    return wilson(part, n) if n else UNDEFINED


def _check_classes(name: str, values: Int64[Tensor, " n"], num_classes: int) -> None:
    wrong = values[(values < 0) | (values >= num_classes)]
    if len(wrong):
        raise DataError(f"{name}: class {int(wrong[0])} is not in 0..{num_classes - 1}")
