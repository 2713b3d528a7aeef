"""What the predictions of a prompt set are worth, and how two sets differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from hw2.clip.results import Predictions
from hw2.metrics.calibration import ReliabilityBin, calibration_error, reliability_bins
from hw2.metrics.classification import (
    ClassScore,
    class_scores,
    confusion_matrix,
    hits_per_class,
    mean_per_class_recall,
    top_k_accuracy,
)
from hw2.metrics.intervals import Interval
from hw2.metrics.paired import McNemar, holm, mcnemar

# Score: its name in a table, its format there.
SCORES = {
    "top1": ("top-1", ".1%"),
    "top5": ("top-5", ".1%"),
    "mean_per_class_recall": ("mean per-class recall", ".1%"),
    "ece": ("calibration error (ECE)", ".3f"),
}


@dataclass(frozen=True)
class Scores:
    """The figures of one prompt set over n pictures; `summary` has the keys of SCORES."""

    n: int
    summary: dict[str, Interval]
    confusion: Int64[Tensor, "c c"]
    by_class: list[ClassScore]
    bins: list[ReliabilityBin]

    def to_json(self) -> dict[str, Any]:
        """The summary with its limits, ready for JSON."""
        return {key: {**value.to_json(), "n": self.n} for key, value in self.summary.items()}


def score(predictions: Predictions, num_classes: int, seed: int) -> Scores:
    """The figures of a prompt set; `seed` is of the bootstrap. With under five classes top-5 is 1.

    Raises DataError for no pictures.
    """
    top, labels = predictions.classes, predictions.labels
    confidence, right = predictions.probabilities[:, 0], predictions.right
    confusion = confusion_matrix(top[:, 0], labels, num_classes)
    k = min(5, num_classes)
    summary = {
        "top1": top_k_accuracy(top, labels, 1),
        "top5": top_k_accuracy(top, labels, k),
        "mean_per_class_recall": mean_per_class_recall(confusion),
        "ece": calibration_error(confidence, right, seed),
    }
    by_class = class_scores(confusion, hits_per_class(top, labels, k, num_classes))
    return Scores(len(labels), summary, confusion, by_class, reliability_bins(confidence, right))


@dataclass(frozen=True)
class Comparison:
    """Set `b` against set `a` on the same pictures; `p_adjusted` is Holm's over all pairs."""

    a: str
    b: str
    test: McNemar
    p_adjusted: float

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "only_a_right": self.test.only_a,
            "only_b_right": self.test.only_b,
            "difference": self.test.difference.to_json(),
            "p": self.test.p_value,
            "p_holm": self.p_adjusted,
        }

    def row(self) -> dict[str, str]:
        """For a table."""
        verdict = "differ" if self.p_adjusted < 0.05 else "not shown to differ"
        return {
            "prompts": f"{self.b} - {self.a}",
            "top-1, points": f"{self.test.difference.in_points():.1f}",
            "right only with": f"{self.test.only_b} : {self.test.only_a}",
            "p (McNemar)": f"{self.test.p_value:.2g}",
            "p (Holm)": f"{self.p_adjusted:.2g}",
            "": verdict,
        }


def compare(predictions: Mapping[str, Predictions]) -> list[Comparison]:
    """McNemar's test between all pairs of sets, corrected by Holm for their number."""
    pairs = list(combinations(predictions, 2))
    tests = [mcnemar(predictions[a].right, predictions[b].right) for a, b in pairs]
    adjusted = holm([test.p_value for test in tests])
    return [
        Comparison(a, b, test, p) for (a, b), test, p in zip(pairs, tests, adjusted, strict=True)
    ]


def changed(a: Predictions, b: Predictions) -> Int64[Tensor, " n"]:
    """Which pictures, by place in `a` and `b`, the two sets name differently."""
    return (a.classes[:, 0] != b.classes[:, 0]).nonzero()[:, 0]


@dataclass(frozen=True)
class Examples:
    """Pictures for a gallery, by place in the predictions."""

    title: str
    places: Sequence[int]


def examples(predictions: Predictions, count: int, seed: int) -> list[Examples]:
    """Hits and misses at random, and the misses that were most sure.

    The random ones are the first `count` of a permutation that `seed` decides.
    """
    order = torch.randperm(len(predictions.labels), generator=torch.Generator().manual_seed(seed))
    right = predictions.right
    misses = (~right).nonzero()[:, 0]
    sure = predictions.probabilities[misses, 0].argsort(descending=True, stable=True)
    return [
        Examples(f"hits, drawn at random (seed {seed})", order[right[order]][:count].tolist()),
        Examples(f"misses, drawn at random (seed {seed})", order[~right[order]][:count].tolist()),
        Examples("misses with the highest probability", misses[sure][:count].tolist()),
    ]
