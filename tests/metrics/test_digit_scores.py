"""The score sheet on sets whose figures are known."""

import json
import math
import time

import pytest
import torch

from hw2.domains import DOMAINS
from hw2.errors import DataError
from hw2.metrics.digit_scores import METRICS, JudgedPictures, score_digits
from hw2.metrics.frechet import frechet_distance, kernel_distance
from hw2.metrics.intervals import mean_of_intervals, wilson


def judged(n: int, wrong: int = 0, seed: int = 0, spread: float = 1.0) -> JudgedPictures:
    """n pictures of both domains and all digits; of each domain the first `wrong` misread."""
    generator = torch.Generator().manual_seed(seed)
    digits, domains = torch.arange(n) % 10, torch.arange(n) // 10 % 2
    predictions = digits.clone()
    for domain in (0, 1):
        rows = (domains == domain).nonzero().squeeze(1)[: wrong * (domain + 1)]
        predictions[rows] = (digits[rows] + 1) % 10
    features = torch.randn(n, 16, generator=generator) * spread
    pixels = torch.randn(n, 30, generator=generator) * spread
    return JudgedPictures(predictions, digits, domains, features, pixels)


def test_accuracies_are_wilsons_and_their_mean_is_movers() -> None:
    scores = score_digits(judged(200, wrong=3), judged(400, wrong=10, seed=1), seed=0)
    assert scores.get("accuracy", "mnistm") == wilson(97, 100)
    assert scores.get("accuracy", "svhn") == wilson(94, 100)
    assert scores.get("accuracy") == mean_of_intervals([wilson(97, 100), wilson(94, 100)])
    assert scores.get("accuracy", "mnistm", digit=0) == wilson(9, 10)
    assert scores.get("accuracy", "mnistm", digit=9) == wilson(10, 10)
    assert scores.get("accuracy_real", "svhn") == wilson(180, 200)


def test_distances_are_taken_within_a_domain() -> None:
    ours, real = judged(200), judged(400, seed=1, spread=2.0)
    scores = score_digits(ours, real, seed=0)
    for index, name in enumerate(DOMAINS):
        pair = ours.features[ours.domains == index], real.features[real.domains == index]
        assert scores.get("frechet_judge", name).value == frechet_distance(*pair)
        assert scores.get("kernel_judge", name).value == kernel_distance(*pair)
    assert scores.get("diversity").value == pytest.approx(0.5, rel=0.05)
    assert scores.get("diversity_pixels").value == pytest.approx(0.5, rel=0.05)
    with pytest.raises(KeyError):  # features of two judges have no common scale
        scores.get("frechet_judge")


def test_diversity_s_limits_allow_for_noises_that_digits_and_domains_share() -> None:
    """Twenty noises, of which all digits of both domains are drawn."""
    digits, domains = torch.arange(10).repeat(40), torch.arange(2).repeat_interleave(10).repeat(20)
    kept = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in range(100):
        random = torch.Generator().manual_seed(seed)
        common = torch.randn(20, 4, generator=random).repeat_interleave(20, 0)
        x = 0.95 * common + 0.3 * torch.randn(400, 4, generator=random)
        real = torch.randn(2000, 4, generator=random)
        labels = (kept % 10, kept % 10, kept // 1000)
        pair = JudgedPictures(digits, digits, domains, x), JudgedPictures(*labels, real)
        found.append(score_digits(*pair, seed=0, num_subsets=2))
    for domain in (*DOMAINS, "mean"):
        shown = [scores.get("diversity", domain) for scores in found]
        told = torch.tensor([(i.high - i.low) / 2 / 1.96 for i in shown]).square().mean().sqrt()
        true = torch.tensor([i.value for i in shown]).std()
        assert float(told) == pytest.approx(float(true), rel=0.2), domain
    for scores in found:
        parts = [scores.get("diversity", domain).value for domain in DOMAINS]
        assert scores.get("diversity").value == pytest.approx(sum(parts) / 2)


def test_rows_flat_and_json_hold_the_same_figures() -> None:
    scores = score_digits(judged(200, wrong=2), judged(400, seed=1), seed=0)
    rows, flat, tree = scores.rows(), scores.flat(), scores.to_json()
    assert list(rows[0]) == ["domain", "digit", "metric", "value", "low", "high", "n"]
    assert len(rows) == len(flat) == len(tree) == 2 * (1 + 10 + 5) + 4
    assert {row["metric"] for row in rows} == set(METRICS)
    assert flat["eval/accuracy/mnistm/3"] == 1.0
    assert flat["eval/accuracy"] == pytest.approx((0.98 + 0.96) / 2)
    assert {"eval/diversity", "eval/frechet_judge/svhn", "eval/kernel_judge/mnistm"} <= flat.keys()
    assert json.loads(json.dumps(tree, allow_nan=False))["eval/accuracy"]["n"] == 200
    assert {key: entry["value"] for key, entry in tree.items()} == flat


def test_the_summary_has_a_row_a_metric_and_a_column_a_domain() -> None:
    summary = score_digits(judged(200, wrong=2), judged(400, seed=1), seed=0).summary()
    assert [row["score"] for row in summary] == [metric.title for metric in METRICS.values()]
    assert summary[0]["mnistm"] == f"{wilson(98, 100):.1%}"
    assert "mean" in summary[0] and "mean" not in summary[-1]


def test_the_seed_moves_limits_only() -> None:
    ours, real = judged(100), judged(200, seed=1)
    one, same, other = (score_digits(ours, real, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.flat() == other.flat()
    assert one.get("frechet_judge", "svhn") != other.get("frechet_judge", "svhn")


def test_one_domain_alone_is_scored_alone() -> None:
    scores = score_digits(judged(200, wrong=3).of_domain(1), judged(400, seed=1), seed=0)
    assert scores.get("accuracy") == scores.get("accuracy", "svhn") == wilson(94, 100)
    assert not any("mnistm" in key for key in scores.flat())


def test_one_picture_gives_an_accuracy_and_leaves_the_rest_undefined() -> None:
    scores = score_digits(judged(1), judged(400, seed=1), seed=0)
    assert math.isnan(scores.get("frechet_judge", "mnistm").value)
    assert math.isnan(scores.get("diversity").value)
    assert scores.to_json()["eval/diversity"]["value"] is None
    assert set(scores.flat()) == {
        "eval/accuracy",
        "eval/accuracy/mnistm",
        "eval/accuracy/mnistm/0",
        "eval/accuracy_real",
        "eval/accuracy_real/mnistm",
    }


def test_without_pixels_the_diversity_in_pixels_is_not_stated() -> None:
    full = judged(100)
    bare = JudgedPictures(full.predictions, full.digits, full.domains, full.features)
    assert "eval/diversity_pixels" not in score_digits(bare, full, seed=0).flat()


def test_pictures_that_cannot_be_scored_are_refused() -> None:
    full = judged(40)
    with pytest.raises(DataError, match=r"digits: 10 is not in 0\.\.9"):
        JudgedPictures(full.predictions, full.digits + 1, full.domains, full.features)
    with pytest.raises(DataError, match=r"domains: 2 is not in 0\.\.1"):
        JudgedPictures(full.predictions, full.digits, full.domains + 1, full.features)
    # Where shapes are checked (jaxtyping, in tests) that check speaks first, with a TypeError.
    with pytest.raises((DataError, TypeError)):
        JudgedPictures(full.predictions[:3], full.digits, full.domains, full.features)
    with pytest.raises(DataError, match="no real pictures of svhn"):
        score_digits(full, full.of_domain(0), seed=0)
    with pytest.raises(DataError, match="no generated pictures"):
        score_digits(judged(10).of_domain(1), full, seed=0)


def test_a_thousand_pictures_are_scored_within_three_seconds() -> None:
    def large(n: int) -> JudgedPictures:
        small = judged(n)
        features, pixels = torch.randn(n, 64), torch.randn(n, 3 * 28 * 28)
        return JudgedPictures(small.predictions, small.digits, small.domains, features, pixels)

    ours, real = large(1000), large(2000)
    start = time.process_time()  # of this process: other work on the machine does not count
    score_digits(ours, real, seed=0)
    assert time.process_time() - start < 3
