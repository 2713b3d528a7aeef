"""Calibration against a plain loop over bins, a bootstrap over pictures, and repeated sets."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hw2.errors import ConfigError, DataError
from hw2.metrics.calibration import calibration_error, reliability_bins
from hw2.metrics.intervals import wilson


def said(n: int, shift: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Confidences, and right by `shift` less often than they say."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 1.5, n)
    right = rng.random(n) < confidence - shift
    return torch.from_numpy(confidence), torch.from_numpy(right)


def plain_error(confidence: Tensor, right: Tensor, num_bins: int = 15) -> float:
    """Equation 3 of Guo et al., word for word."""
    x, y = confidence.double().numpy(), right.numpy()
    total = 0.0
    for m in range(1, num_bins + 1):
        inside = (x > (m - 1) / num_bins) & (x <= m / num_bins)
        if inside.any():
            total += inside.sum() / len(x) * abs(y[inside].mean() - x[inside].mean())
    return total


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_bins_and_error_are_those_of_a_plain_loop(num_bins: int) -> None:
    confidence, right = said(700, 0.07)
    bins = reliability_bins(confidence, right, num_bins)
    assert sum(b.n for b in bins) == 700 and all(b.n for b in bins)
    for b in bins:
        inside = (confidence > b.low) & (confidence <= b.high)
        assert b.n == inside.sum() and b.accuracy == wilson(int(right[inside].sum()), b.n)
        assert b.confidence == pytest.approx(float(confidence[inside].mean()), rel=1e-12)
    assert num_bins != 15 or len(bins) < 15  # empty ones are left out
    found = calibration_error(confidence, right, 0, num_bins).value
    assert found == pytest.approx(plain_error(confidence, right, num_bins), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(dtype: torch.dtype) -> None:
    edges = torch.arange(11, dtype=torch.float64).div(10).to(dtype)
    bins = reliability_bins(edges, torch.ones(11, dtype=torch.bool), 10)
    assert [b.n for b in bins] == [2] + [1] * 9  # 0 goes to the first
    assert [(b.low, b.high) for b in bins] == [(i / 10, (i + 1) / 10) for i in range(10)]


@pytest.mark.parametrize(("n", "shift"), [(40, 0.0), (500, 0.1)])
def test_limits_are_as_wide_as_a_bootstrap_over_pictures_says(n: int, shift: float) -> None:
    confidence, right = said(n, shift)
    found = calibration_error(confidence, right, seed=0, num_resamples=4000)
    again = np.random.default_rng(0)
    values = [plain_error(confidence[i], right[i]) for i in again.integers(0, n, (1500, n))]
    assert (found.high - found.value) / 1.96 == pytest.approx(np.std(values), rel=0.06)
    assert found.low == pytest.approx(max(2 * found.value - found.high, 0.0))


def test_the_lower_limit_is_not_below_0() -> None:
    found = calibration_error(*said(400, 0.0), seed=0, num_bins=1)
    assert 2 * found.value < found.high and found.low == 0.0


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_limits_cover_the_expected_error_of_such_a_set(shift: float) -> None:
    expected = np.mean([plain_error(*said(300, shift, seed)) for seed in range(400)])
    found = [calibration_error(*said(300, shift, s), s, num_resamples=200) for s in range(150)]
    covered = np.mean([i.low <= expected <= i.high for i in found])
    assert 0.92 < covered < 0.999
    assert all(i.low <= i.value <= i.high for i in found)


def test_the_seed_alone_decides() -> None:
    confidence, right = said(200, 0.05)
    first = calibration_error(confidence, right, seed=3)
    torch.manual_seed(99)
    assert first == calibration_error(confidence, right, seed=3)
    assert first != calibration_error(confidence, right, seed=4)
    sure = torch.ones(9), torch.ones(9, dtype=torch.bool)
    assert vars(calibration_error(*sure, seed=0)) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_one_picture_has_no_limits() -> None:
    found = calibration_error(torch.tensor([0.25]), torch.tensor([True]), seed=0)
    assert found.value == pytest.approx(0.75)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_what_is_no_probability_is_refused() -> None:
    confidence, right = said(10, 0.0)
    for wrong, text in ((1.5, "1.5"), (-0.1, "-0.1"), (math.nan, "nan")):
        confidence[4] = wrong
        for function in (reliability_bins, lambda x, y: calibration_error(x, y, seed=0)):
            with pytest.raises(DataError, match=f"confidence {text}: need"):
                function(confidence, right)
    with pytest.raises(DataError, match="no pictures"):
        reliability_bins(confidence[:0], right[:0])
    for few in (0, -1):
        with pytest.raises(ConfigError, match=f"num_bins={few}: need 1"):
            reliability_bins(confidence[:4], right[:4], few)
        with pytest.raises(ConfigError, match=f"num_bins={few}: need 1"):
            calibration_error(confidence[:4], right[:4], seed=0, num_bins=few)
