"""Scores of concepts against plain NumPy in float64, the best five against all choices."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.concept_scores import (
    best_five,
    both_scores,
    both_there,
    grade_prompt,
    image_scores,
    likeness_of_sources,
    presence_threshold,
    score_together,
    text_scores,
)
from hw2.metrics.intervals import bootstrap, wilson


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return 100 * float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def test_scores_are_mean_cosines() -> None:
    generated, sources, text = drawn(7, 16, seed=0), drawn(4, 16, seed=1), drawn(16, seed=2)
    x, y, z = (of.double().numpy() for of in (generated, sources, text))
    want = [np.mean([cosine(a, b) for b in y]) for a in x]
    np.testing.assert_allclose(image_scores(generated, sources), want, rtol=0, atol=1e-12)
    want = [cosine(a, z) for a in x]
    np.testing.assert_allclose(text_scores(generated, text), want, rtol=0, atol=1e-12)
    pairs = [cosine(y[i], y[j]) for i in range(4) for j in range(4) if i != j]
    assert likeness_of_sources(sources) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_a_score_knows_no_length_and_only_its_own_picture() -> None:
    generated, sources = drawn(7, 16, seed=0), drawn(4, 16, seed=1)
    want = image_scores(generated, sources)
    torch.testing.assert_close(image_scores(7 * generated[3:4], sources / 9), want[3:4])
    torch.testing.assert_close(
        image_scores(sources[:1], sources[:1]), torch.tensor([100.0]).double()
    )


@pytest.mark.parametrize("n", [5, 6, 11])
def test_the_best_five_are_the_best_of_all_fives(n: int) -> None:
    image, text = 60 + 5 * drawn(n, seed=n).double(), 25 + 4 * drawn(n, seed=n + 1).double()
    total = image + 2.5 * text
    want = max(combinations(range(n), 5), key=lambda five: sum(float(total[i]) for i in five))
    found = best_five(image, text)
    assert sorted(found.tolist()) == list(want)
    assert (total[found].diff() < 0).all()


def test_the_text_counts_two_and_a_half_times() -> None:
    image, text = torch.tensor([70.0, 64.0, 63.5]), torch.tensor([20.0, 22.5, 22.5])
    assert best_five(image, text).tolist() == [1, 0, 2]


def test_of_equal_pictures_the_earlier_and_of_few_all() -> None:
    image, text = torch.tensor([1.0, 2.0, 2.0, 2.0]), torch.zeros(4)
    assert best_five(image, text).tolist() == [1, 2, 3, 0]
    many = torch.tensor([1.0] + [2.0] * 24)
    assert best_five(many, torch.zeros(25)).tolist() == [1, 2, 3, 4, 5]


def test_a_grade_is_of_the_best_and_its_intervals_of_all() -> None:
    image, text = 60 + 5 * drawn(25, seed=4).double(), 25 + 4 * drawn(25, seed=5).double()
    grade = grade_prompt(image, text, seed=0)
    five = np.argsort(-(image + 2.5 * text).numpy())[:5]
    assert grade.best_image == pytest.approx(image.numpy()[five].mean())
    assert grade.best_text == pytest.approx(text.numpy()[five].mean())
    for found, scores in ((grade.image, image), (grade.text, text)):
        error = float(scores.std()) / 5
        assert found.value == pytest.approx(float(scores.mean()))
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    reached = grade.best_image, grade.best_text
    assert grade.passes(reached)
    assert not grade.passes((reached[0] + 0.01, reached[1]))
    assert not grade.passes((reached[0], reached[1] + 0.01))


def test_one_picture_has_a_grade_and_no_interval() -> None:
    grade = grade_prompt(torch.tensor([60.0]), torch.tensor([25.0]), seed=0)
    assert (grade.best_image, grade.best_text, grade.image.value) == (60, 25, 60)
    assert math.isnan(grade.image.low) and math.isnan(grade.text.high)


def test_a_paired_difference_is_narrower_than_its_sides() -> None:
    noise = 5 * drawn(25, seed=6)
    before, after = 60 + noise, 62 + noise + 0.5 * drawn(25, seed=7)
    change = bootstrap(after - before, seed=0)
    assert change.low < 2 < change.high and change.low > 1.5
    alone = bootstrap(after, seed=0)
    assert change.high - change.low < 0.2 * (alone.high - alone.low)


def test_the_threshold_is_what_others_reach_and_they_are_not_there() -> None:
    sources, others = drawn(4, 16, seed=1) + 2, drawn(6, 16, seed=2)
    x, y = others.double().numpy(), sources.double().numpy()
    threshold = presence_threshold(others, sources)
    assert threshold == pytest.approx(max(np.mean([cosine(a, b) for b in y]) for a in x))
    limit = torch.tensor([threshold], dtype=torch.float64)
    assert not both_there(image_scores(others, sources)[:, None], limit).any()
    assert both_there(image_scores(sources, sources)[:, None], limit).all()


def test_both_are_there_where_each_is() -> None:
    own = torch.tensor([[60.0, 71], [61, 70], [61, 71], [90, 10], [60.5, 99]]).double()
    limits = torch.tensor([60.0, 70.0]).double()
    assert both_scores(own).tolist() == [60, 61, 61, 10, 60.5]
    assert both_there(own, limits).tolist() == [False, False, True, False, True]
    score = score_together(own, limits, seed=0)
    assert [mean.value for mean in score.own] == pytest.approx([66.5, 64.2])
    assert score.both.value == pytest.approx(50.5)
    assert score.there == wilson(2, 5)
    three = score_together(torch.cat([own, own[:, :1]], 1), torch.zeros(3).double(), seed=0)
    assert len(three.own) == 3 and three.there == wilson(5, 5)


def test_refusals() -> None:
    none, some = torch.zeros(0, 4), drawn(2, 4, seed=0)
    with pytest.raises(DataError, match="against no pictures"):
        image_scores(some, none)
    with pytest.raises(DataError, match="other concepts"):
        presence_threshold(none, some)
    with pytest.raises(DataError, match="likeness of 1"):
        likeness_of_sources(some[:1])
    with pytest.raises(DataError):
        grade_prompt(torch.zeros(0), torch.zeros(0), seed=0)
    with pytest.raises(DataError):
        score_together(torch.zeros(0, 2).double(), torch.zeros(2).double(), seed=0)
