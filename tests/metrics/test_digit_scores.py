"""The score sheet on sets whose figures are known."""

import json
import math
import time
from dataclasses import replace

import pytest
import torch

from hw2.domains import DOMAINS
from hw2.errors import DataError
from hw2.metrics.digit_metrics import METRICS, JudgedPictures
from hw2.metrics.digit_scores import MEAN, DigitScores, score_digits
from hw2.metrics.frechet import frechet_distance, kernel_distance
from hw2.metrics.intervals import Interval, mean_of_intervals, wilson, with_limits
from hw2.metrics.jackknife import interval_of


def judged(n: int, wrong: int = 0, seed: int = 0, spread: float = 1.0) -> JudgedPictures:
    """n pictures of both domains and all digits; of a domain `wrong`, of the other twice as many,
    are misread, no two of one noise."""
    generator = torch.Generator().manual_seed(seed)
    digits, domains = torch.arange(n) % 10, torch.arange(n) // 10 % 2
    predictions = digits.clone()
    for domain in (0, 1):
        rows = (domains == domain).nonzero().squeeze(1)
        misread = rows[torch.arange(wrong * (domain + 1)) * 11 % max(len(rows), 1)]
        predictions[misread] = (digits[misread] + 1) % 10
    features = torch.randn(n, 16, generator=generator) * spread
    pixels = torch.randn(n, 30, generator=generator) * spread
    return JudgedPictures(predictions, digits, domains, features, pixels)


def test_accuracies_are_wilsons() -> None:
    scores = score_digits(judged(200, wrong=3), judged(400, wrong=10, seed=1))
    assert scores.get("accuracy", "mnistm") == wilson(97, 100, freedom=9)
    assert scores.get("accuracy", "svhn") == wilson(94, 100, freedom=9)
    assert scores.get("accuracy") == wilson(191, 200, freedom=9)
    assert scores.get("accuracy", "mnistm", digit=0) == wilson(9, 10)
    assert scores.get("accuracy", "mnistm", digit=9) == wilson(10, 10)
    assert scores.get("accuracy_real", "svhn") == wilson(180, 200)
    real = [wilson(190, 200), wilson(180, 200)]
    assert scores.get("accuracy_real") == mean_of_intervals(real)
    counts = {(one.metric, one.domain): one.n for one in scores.scores if one.digit is None}
    for domain, of_drawn, of_real in (("svhn", 100, 200), (MEAN, 200, 400)):
        assert counts["accuracy", domain] == counts["diversity", domain] == of_drawn
        assert counts["accuracy_real", domain] == of_real


def test_distances_are_taken_within_a_domain() -> None:
    ours, real = judged(200), judged(400, seed=1, spread=2.0)
    scores = score_digits(ours, real)
    for index, name in enumerate(DOMAINS):
        pair = ours.features[ours.domains == index], real.features[real.domains == index]
        assert scores.get("frechet_judge", name).value == frechet_distance(*pair)
        classes = ours.classes[ours.domains == index], real.classes[real.domains == index]
        assert scores.get("kernel_judge", name).value == kernel_distance(*pair, *classes)
    assert scores.get("diversity").value == pytest.approx(0.5, rel=0.05)
    assert scores.get("diversity_pixels").value == pytest.approx(0.5, rel=0.05)
    with pytest.raises(KeyError):  # features of two judges have no common scale
        scores.get("frechet_judge")


def simulated(seed: int, shift: float, share: float = 0.9) -> tuple[JudgedPictures, JudgedPictures]:
    """Twenty noises, of which all digits of both domains are drawn, and thirty real ones of each.

    Of a picture's variance `share` is its noise's, of whether it is read right a half; real ones
    are at a distance of `shift` along each feature.
    """
    random = torch.Generator().manual_seed(seed)
    digits, domains = torch.arange(10).repeat(40), torch.arange(2).repeat_interleave(10).repeat(20)
    common = torch.randn(20, 5, generator=random).repeat_interleave(20, 0)
    own = torch.randn(400, 5, generator=random)
    x = share**0.5 * common[:, :4] + (1 - share) ** 0.5 * own[:, :4]
    wrong = (common[:, 4] + own[:, 4] > 1.8).long()
    kept = torch.randperm(600, generator=random)
    real = torch.randn(600, 4, generator=random) + shift
    centres = 2 * torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    x, real = x + centres[domains * 10 + digits], real + centres[kept // 30]
    labels = kept // 30 % 10, kept // 30 % 10, kept // 300
    drawn = JudgedPictures((digits + wrong) % 10, digits, domains, x, x)
    return drawn, JudgedPictures(*labels, real, real)


SHARES = ("accuracy", "diversity")


@pytest.fixture(scope="module")
def simulations() -> list[DigitScores]:
    with pytest.MonkeyPatch.context() as patch:
        quick = {name: METRICS[name] for name in SHARES}
        patch.setattr("hw2.metrics.digit_scores.METRICS", quick)
        return [score_digits(*simulated(seed, 1.0)) for seed in range(100)]


def assert_as_wide_as_they_vary(shown: list[Interval]) -> None:
    told = torch.tensor([(i.high - i.low) / 2 / 1.96 for i in shown]).square().mean().sqrt()
    true = torch.tensor([i.value for i in shown]).std()
    assert float(told) == pytest.approx(float(true), rel=0.25)


@pytest.mark.parametrize("domain", [*DOMAINS, MEAN])
@pytest.mark.parametrize("metric", SHARES)
def test_limits_of_shares_allow_for_noises_that_digits_and_domains_share(
    simulations: list[DigitScores], metric: str, domain: str
) -> None:
    assert_as_wide_as_they_vary([scores.get(metric, domain) for scores in simulations])


@pytest.mark.parametrize("metric", ["frechet_judge", "kernel_judge"])
def test_limits_of_distances_allow_for_noises_that_digits_share(metric: str) -> None:
    pairs = [simulated(seed, 1.0) for seed in range(50)]
    of_one = [(drawn.of_domain(0), real.of_domain(0)) for drawn, real in pairs]
    assert_as_wide_as_they_vary([interval_of(METRICS[metric].measure(*pair)) for pair in of_one])


def test_the_mean_over_domains_is_that_of_the_two(simulations: list[DigitScores]) -> None:
    for metric in SHARES:
        for scores in simulations[:5]:
            parts = [scores.get(metric, domain).value for domain in DOMAINS]
            assert scores.get(metric).value == pytest.approx(sum(parts) / 2)


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_the_kernel_distance_of_equal_distributions_is_0_in_the_mean(share: float) -> None:
    """Though both sets have as many of each class, and pictures of a noise are alike."""
    found = []
    for seed in range(60):
        drawn, real = (pictures.of_domain(0) for pictures in simulated(seed, 0.0, share))
        pair = drawn.features, real.features
        of_classes = kernel_distance(*pair, drawn.classes, real.classes)
        found.append([of_classes, kernel_distance(*pair)])
    right, plain = torch.tensor(found).T
    assert abs(right.mean()) < 3 * float(right.std()) / 60**0.5
    if share == 0:  # else pictures of one noise make up for what is less
        assert plain.mean() < -6 * float(plain.std()) / 60**0.5


def test_rows_flat_and_json_hold_the_same_figures() -> None:
    scores = score_digits(judged(200, wrong=2), judged(400, seed=1))
    rows, flat, tree = scores.rows(), with_limits(scores.flat()), scores.to_json()
    assert list(rows[0]) == ["domain", "digit", "metric", "value", "low", "high", "n"]
    assert len(rows) == len(tree) == 2 * (1 + 10 + 5) + 4
    assert len(flat) == 2 * (10 + 3 * 6) + 3 * 4  # single digits without limits
    assert {row["metric"] for row in rows} == set(METRICS)
    assert flat["eval/accuracy/mnistm/3"] == 1.0
    assert flat["eval/accuracy"] == pytest.approx((0.98 + 0.96) / 2)
    assert {"eval/diversity", "eval/frechet_judge/svhn", "eval/kernel_judge/mnistm"} <= flat.keys()
    assert json.loads(json.dumps(tree, allow_nan=False))["eval/accuracy"]["n"] == 200
    assert {key: entry["value"] for key, entry in tree.items()} == {
        key: value for key, value in flat.items() if key in tree
    }
    for end in ("low", "high"):
        found = {key: value for key, value in flat.items() if key.endswith(f".{end}")}
        assert found == {key: tree[key.removesuffix(f".{end}")][end] for key in found} != {}


def test_the_summary_has_a_row_a_metric_and_a_column_a_domain() -> None:
    summary = score_digits(judged(200, wrong=2), judged(400, seed=1)).summary()
    assert [row["score"] for row in summary] == [metric.title for metric in METRICS.values()]
    assert summary[0]["mnistm"] == f"{wilson(98, 100, freedom=9):.1%}"
    assert "mean" in summary[0] and "mean" not in summary[-1]


def test_one_domain_alone_is_scored_alone() -> None:
    scores = score_digits(judged(200, wrong=3).of_domain(1), judged(400, seed=1))
    assert scores.get("accuracy") == scores.get("accuracy", "svhn") == wilson(94, 100, freedom=9)
    assert not any("mnistm" in key for key in scores.flat())


def test_one_picture_gives_an_accuracy_and_leaves_the_rest_undefined() -> None:
    scores = score_digits(judged(1), judged(400, seed=1))
    assert math.isnan(scores.get("frechet_judge", "mnistm").value)
    assert math.isnan(scores.get("diversity").value)
    assert scores.to_json()["eval/diversity"]["value"] is None
    flat = with_limits(scores.flat())
    assert {key for key in flat if not key.endswith((".low", ".high"))} == {
        "eval/accuracy",
        "eval/accuracy/mnistm",
        "eval/accuracy/mnistm/0",
        "eval/accuracy_real",
        "eval/accuracy_real/mnistm",
    }


def test_pictures_that_cannot_be_scored_are_refused() -> None:
    full = judged(40)
    with pytest.raises(DataError, match=r"digits: 10 is not in 0\.\.9"):
        replace(full, digits=full.digits + 1)
    with pytest.raises(DataError, match=r"domains: 2 is not in 0\.\.1"):
        replace(full, domains=full.domains + 1)
    # Where shapes are checked (jaxtyping, in tests) that check speaks first, with a TypeError.
    with pytest.raises((DataError, TypeError)):
        replace(full, predictions=full.predictions[:3])
    with pytest.raises(DataError, match="no real pictures of svhn"):
        score_digits(full, full.of_domain(0))
    for by_noise in (False, True):
        with pytest.raises(DataError, match="a rate of 0 of 0"):
            judged(0).accuracy(by_noise)
    with pytest.raises(DataError, match="no generated pictures"):
        score_digits(judged(10).of_domain(1), full)


def test_a_thousand_pictures_are_scored_within_three_seconds() -> None:
    def large(n: int) -> JudgedPictures:
        small = judged(n)
        features, pixels = torch.randn(n, 64), torch.randn(n, 3 * 28 * 28)
        return JudgedPictures(small.predictions, small.digits, small.domains, features, pixels)

    ours, real = large(1000), large(2000)
    start = time.process_time()  # of this process: other work on the machine does not count
    score_digits(ours, real)
    assert time.process_time() - start < 3
