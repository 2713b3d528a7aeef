"""Figures, comparisons and examples of made-up predictions, beside loops, scipy and sklearn."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from hw2.clip.results import Predictions
from hw2.clip.scores import SCORES, changed, compare, examples, score
from hw2.metrics.calibration import calibration_error

N, CLASSES = 400, 7


def made_up(seed: int, skill: float = 0.6, classes: int = CLASSES) -> Predictions:
    """Labels shared by all seeds; the best class is often the true one."""
    labels = np.random.default_rng(9).integers(0, classes, N)
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((N, classes)) + 3 * skill * np.eye(classes)[labels]
    order = np.argsort(-logits, axis=1)[:, :5]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    top = np.take_along_axis(shares, order, 1).astype(np.float32)
    rows = torch.arange(N) * 2
    return Predictions(rows, *map(torch.from_numpy, (labels, order, top)))


def of(labels: list[int], said: list[int], sure: list[float]) -> Predictions:
    """Predictions of two classes."""
    classes = torch.tensor([[one, 1 - one] for one in said])
    shares = torch.tensor(sure)
    places = torch.arange(len(labels))
    both = torch.stack([shares, 1 - shares], 1)
    return Predictions(places, torch.tensor(labels), classes, both)


def test_figures_are_sklearns() -> None:
    found = made_up(1)
    scores = score(found, CLASSES, seed=0)
    labels, said = found.labels.numpy(), found.classes.numpy()
    values = {key: interval.value for key, interval in scores.summary.items()}
    assert values.keys() == SCORES.keys()
    assert values["top1"] == pytest.approx(metrics.accuracy_score(labels, said[:, 0]))
    assert values["top5"] == pytest.approx((said == labels[:, None]).any(1).mean())
    recall = metrics.balanced_accuracy_score(labels, said[:, 0])
    assert values["mean_per_class_recall"] == pytest.approx(recall)
    assert np.array_equal(scores.confusion, metrics.confusion_matrix(labels, said[:, 0]))
    recalls = metrics.recall_score(labels, said[:, 0], average=None)
    assert [one.recall.value for one in scores.by_class] == pytest.approx(recalls)
    for index, one in enumerate(scores.by_class):
        mine = labels == index
        assert one.top5.value == pytest.approx((said[mine] == index).any(1).mean())
    told = scores.to_json()
    assert told["top1"]["low"] < told["top1"]["value"] < told["top1"]["high"]
    assert told["top1"]["n"] == scores.n == N
    for seed in (0, 1):
        want = calibration_error(found.probabilities[:, 0], found.right, seed)
        assert score(found, CLASSES, seed).summary["ece"] == want
    assert want != scores.summary["ece"]  # of the other seed


def test_fewer_classes_than_five() -> None:
    found = score(made_up(1, classes=2), 2, seed=0)
    assert found.summary["top5"].value == 1
    alone = Predictions(
        torch.arange(3), torch.zeros(3).long(), torch.zeros(3, 1).long(), torch.ones(3, 1)
    )
    values = {key: interval.value for key, interval in score(alone, 1, seed=0).summary.items()}
    assert values == {"top1": 1, "top5": 1, "mean_per_class_recall": 1, "ece": 0}


def holm_by_hand(p_values: list[float]) -> list[float]:
    """Each p-value times how many are not below it, and never less than one before it."""
    raised = [(p, p * sum(q >= p for q in p_values)) for p in p_values]
    return [min(1.0, max(up for q, up in raised if q <= p)) for p in p_values]


def test_comparisons_are_scipys() -> None:
    sets = {"a": made_up(1), "b": made_up(2, 0.75), "c": made_up(3, 0.62)}
    comparisons = compare(sets)
    assert [(one.a, one.b) for one in comparisons] == [("a", "b"), ("a", "c"), ("b", "c")]
    p_values = []
    for one, (x, y) in zip(comparisons, itertools.combinations(sets.values(), 2), strict=True):
        right = [(p.classes[:, 0] == p.labels).numpy() for p in (x, y)]
        only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
        less = stats.binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
        p_values.append(min(1.0, 2 * less))
        told = one.to_json()
        assert (told["only_a_right"], told["only_b_right"]) == (only_a, only_b)
        assert told["p"] == pytest.approx(p_values[-1])
        assert told["difference"]["value"] == pytest.approx(right[1].mean() - right[0].mean())
        assert told["difference"]["low"] < told["difference"]["value"] < told["difference"]["high"]
    assert [one.p_adjusted for one in comparisons] == pytest.approx(holm_by_hand(p_values))
    verdicts = [one.row()[""] for one in comparisons]
    assert verdicts == [
        "differ" if p < 0.05 else "not shown to differ" for p in holm_by_hand(p_values)
    ]
    assert set(verdicts) == {"differ", "not shown to differ"}


def test_a_set_beside_itself_and_one_alone() -> None:
    (same,) = compare({"a": made_up(1), "b": made_up(1)})
    assert same.p_adjusted == 1
    assert same.row()["right only with"] == "0 : 0"
    assert compare({"a": made_up(1)}) == []


def test_changed_names_every_difference() -> None:
    a, b = made_up(1), made_up(2)
    want = [i for i in range(N) if int(a.classes[i, 0]) != int(b.classes[i, 0])]
    assert 0 < len(want) < N
    assert changed(a, b).tolist() == want
    assert changed(a, a).tolist() == []


def places(predictions: Predictions, count: int, seed: int) -> list[list[int]]:
    return [list(one.places) for one in examples(predictions, count, seed)]


def test_examples_follow_their_rule() -> None:
    found = made_up(1)
    right = found.right.tolist()
    hits, misses, sure = places(found, 5, seed=4)
    assert all(right[i] for i in hits) and not any(right[i] for i in misses + sure)
    for drawn in (hits, misses, sure):
        assert len(set(drawn)) == 5
    assert places(found, 5, seed=4) == [hits, misses, sure]
    assert places(found, 5, seed=5)[0] != hits and places(found, 5, seed=5)[1] != misses
    assert places(found, 5, seed=5)[2] == sure
    wrong = [i for i in range(N) if not right[i]]
    best = sorted(wrong, key=lambda i: (-float(found.probabilities[i, 0]), i))
    assert sure == best[:5]
    more = places(found, 9, seed=4)  # a longer gallery begins with the shorter one
    assert [drawn[:5] for drawn in more] == [hits, misses, sure]
    assert sorted(places(found, N, seed=4)[1]) == wrong


def test_examples_are_drawn_evenly() -> None:
    found = made_up(1)
    counts = torch.zeros(N)
    for seed in range(300):
        counts[places(found, 5, seed)[0]] += 1
    hits = counts[found.right]
    assert stats.chisquare(hits).pvalue > 1e-4
    assert float(hits.sum()) == 1500


def test_equal_probabilities_are_told_in_order() -> None:
    found = of([0, 0, 0, 0], [1, 1, 1, 0], [0.7, 0.9, 0.7, 0.9])
    assert places(found, 5, seed=0)[2] == [1, 0, 2]


@pytest.mark.parametrize(("said", "lengths"), [([0, 1], [2, 0, 0]), ([1, 0], [0, 2, 2])])
def test_all_right_and_all_wrong(said: list[int], lengths: list[int]) -> None:
    found = of([0, 1], said, [0.8, 0.6])
    assert list(map(len, places(found, 5, seed=0))) == lengths
    values = score(found, 2, seed=0).summary
    assert values["top1"].value == float(said == [0, 1])
