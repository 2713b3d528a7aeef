"""Scores of a classification against scikit-learn and clip-benchmark on the same predictions."""

import math

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification as clip_benchmark
from sklearn import metrics as sk
from torch import Tensor

from hw2.errors import ConfigError, DataError
from hw2.metrics.classification import (
    class_scores,
    confusion_matrix,
    hits_per_class,
    mean_per_class_recall,
    top_k_accuracy,
    worst_pairs,
)
from hw2.metrics.intervals import UNDEFINED, wilson


def classified(n: int = 3000, c: int = 12) -> tuple[Tensor, Tensor]:
    """Logits and labels; class 7 has no pictures, class 3 is never predicted."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(c, (n,), generator=generator)
    labels[labels == 7] = 6
    logits = torch.randn(n, c, generator=generator)
    logits[torch.arange(n), labels] += torch.linspace(0.5, 2.5, c)[labels]
    logits[:, 3] -= 100
    return logits, labels


def test_accuracies_are_clip_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    # It calls float() on an array of one number, which NumPy 2.4 refuses.
    monkeypatch.setattr(clip_benchmark, "float", lambda x: x.item(), raising=False)
    logits, labels = classified()
    top = logits.topk(5).indices
    theirs = clip_benchmark.accuracy(logits, labels, (1, 5))
    for k, expected in zip((1, 5), theirs, strict=True):
        found = top_k_accuracy(top, labels, k)
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert found == wilson(round(expected * len(labels)), len(labels))
    with pytest.raises(ConfigError, match="k=6: the 5 best"):
        top_k_accuracy(top, labels, 6)
    with pytest.raises(DataError, match="0 of 0"):
        top_k_accuracy(top[:0], labels[:0], 1)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_confusion_and_mean_recall_are_scikit_learns() -> None:
    logits, labels = classified()
    predictions = logits.argmax(1)
    found = confusion_matrix(predictions, labels, 12)
    expected = sk.confusion_matrix(labels, predictions, labels=range(12))
    np.testing.assert_array_equal(found.numpy(), expected)
    recall = mean_per_class_recall(found)
    # clip-benchmark's mean_per_class_recall is this function.
    assert recall.value == pytest.approx(sk.balanced_accuracy_score(labels, predictions), abs=1e-12)
    for wrong in (-1, 12):
        bad = labels.index_fill(0, torch.tensor([5]), wrong)
        with pytest.raises(DataError, match=rf"labels: class {wrong} is not in 0\.\.11"):
            confusion_matrix(predictions, bad, 12)
        with pytest.raises(DataError, match=rf"predictions: class {wrong} is not in 0\.\.11"):
            confusion_matrix(bad, labels, 12)
        with pytest.raises(DataError, match=rf"labels: class {wrong} is not in 0\.\.11"):
            hits_per_class(predictions[:, None], bad, 1, 12)
    with pytest.raises(DataError):
        mean_per_class_recall(torch.zeros(4, 4, dtype=torch.int64))


@pytest.mark.parametrize("each", [5, 50])
def test_limits_of_the_mean_recall_hold_the_truth(each: int) -> None:
    rng = np.random.default_rng(0)
    recalls = np.linspace(0.75, 1.0, 20)
    below = above = 0
    for _ in range(1000):
        hits = rng.binomial(each, recalls)
        confusion = torch.diag(torch.from_numpy(hits))
        confusion[:, 0] += torch.from_numpy(each - hits)
        confusion[0, 0], confusion[0, 1] = int(hits[0]), each - int(hits[0])
        limits = mean_per_class_recall(confusion)
        below += recalls.mean() < limits.low
        above += recalls.mean() > limits.high
    assert below + above < 85  # of 1000, where 50 are meant
    assert max(below, above) < 60 and min(below, above) > 5


@pytest.mark.parametrize(("each", "recall"), [(1, 0.7), (1, 0.95), (2, 0.95)])
def test_limits_of_the_mean_recall_of_few_pictures_each(each: int, recall: float) -> None:
    rng, classes, held, width = np.random.default_rng(0), 60, 0, 0.0
    for hits in rng.binomial(each, recall, (400, classes)):
        confusion = torch.diag(torch.from_numpy(hits))
        confusion[:, 0] += torch.from_numpy(each - hits)
        confusion[0, 0], confusion[0, 1] = int(hits[0]), each - int(hits[0])
        limits = mean_per_class_recall(confusion)
        held += limits.low <= recall <= limits.high
        width += (limits.high - limits.low) / 400
    assert held / 400 > 0.93  # half of them were outside with one picture each
    exact = 2 * 1.96 * math.sqrt(recall * (1 - recall) / each / classes)
    assert exact < width < 1.4 * exact


def test_the_mean_recall_where_all_is_right() -> None:
    limits = mean_per_class_recall(torch.eye(10, dtype=torch.int64) * 50)
    assert limits.value == limits.high == 1
    assert 0.985 < limits.low < 1


def test_scores_of_each_class_are_scikit_learns() -> None:
    logits, labels = classified()
    predictions, top = logits.argmax(1), logits.topk(5).indices
    confusion = confusion_matrix(predictions, labels, 12)
    scores = class_scores(confusion, hits_per_class(top, labels, 5, 12))
    precision, recall, _, support = sk.precision_recall_fscore_support(
        labels, predictions, labels=range(12), zero_division=math.nan
    )
    assert [s.n for s in scores] == support.tolist()
    np.testing.assert_allclose([s.recall.value for s in scores], recall)
    np.testing.assert_allclose([s.precision.value for s in scores], precision)
    assert scores[3].precision is UNDEFINED and scores[7].recall is UNDEFINED
    for score in scores:
        own = (labels == score.index).numpy()
        wrong = predictions[own & (predictions != score.index).numpy()].bincount(minlength=12)
        assert score.times == wrong.max()
        assert score.mistaken_for == (int(wrong.argmax()) if wrong.any() else None)
        assert score.predicted == int((predictions == score.index).sum())
        if score.n:
            hits = int((top[own] == score.index).any(1).sum())
            assert score.top5 == wilson(hits, score.n)
    assert scores[7].top5 is UNDEFINED


def test_the_worst_pairs_are_those_of_a_plain_sort() -> None:
    generator = torch.Generator().manual_seed(1)
    confusion = torch.randint(0, 4, (9, 9), generator=generator)  # many ties
    every = sorted(
        (-int(confusion[t, p]), t, p)
        for t in range(9)
        for p in range(9)
        if t != p and confusion[t, p]
    )
    found = worst_pairs(confusion, 30)
    assert [(-pair.times, pair.truth, pair.predicted) for pair in found] == every[:30]
    assert found[0].share == wilson(found[0].times, int(confusion[found[0].truth].sum()))
    assert len(worst_pairs(confusion, 1000)) == len(every)
    assert worst_pairs(torch.eye(3, dtype=torch.int64), 5) == []
    with pytest.raises(ConfigError, match="count=0"):
        worst_pairs(confusion, 0)
