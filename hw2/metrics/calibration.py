"""Whether a classifier is right as often as it says: reliability and calibration error."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hw2.errors import ConfigError, DataError
from hw2.metrics.intervals import Interval, normal_interval, wilson

SLICES = 64  # of a bin, for resampling; a power of 2, so that edges of bins are edges of slices


@dataclass(frozen=True)
class ReliabilityBin:
    """The `n` pictures with `low` < confidence <= `high`: their mean confidence, their accuracy."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: Interval


def reliability_bins(
    confidence: Float[Tensor, " n"], right: Bool[Tensor, " n"], num_bins: int = 15
) -> list[ReliabilityBin]:
    """Accuracy over confidence in equal bins of (0, 1] (Guo et al. 2017, section 2).

    `confidence` is the probability given to the predicted class, `right` whether it was the true
    one. Bins without pictures are left out; 0 goes to the first. Accuracies carry Wilson's limits.
    Raises DataError for no pictures and for confidences outside [0, 1], ConfigError for no bins.
    """
    _check(confidence, num_bins)
    bins = _cells(confidence, num_bins)
    n = torch.bincount(bins, minlength=num_bins)
    confidences = torch.bincount(bins, confidence.double(), minlength=num_bins)
    hits = torch.bincount(bins[right], minlength=num_bins)
    return [
        ReliabilityBin(b / num_bins, (b + 1) / num_bins, size, total / size, wilson(hit, size))
        for b, (size, total, hit) in enumerate(
            zip(n.tolist(), confidences.tolist(), hits.tolist(), strict=True)
        )
        if size
    ]


def calibration_error(
    confidence: Float[Tensor, " n"],
    right: Bool[Tensor, " n"],
    seed: int,
    num_bins: int = 15,
    num_resamples: int = 1000,
) -> Interval:
    """ECE = sum_b n_b / n |accuracy_b - confidence_b| (Guo et al. 2017, eq. 3).

    The limits are the estimate -+ z standard errors of the bootstrap, the lower one at least 0;
    they are about the expected score of a set of this size. That is above 0 also for a perfect
    classifier, by up to 0.4 sqrt(bins / n): compare only sets of the same size. Percentiles would
    not do: noise added a second time mostly adds to |..|, so that for a perfect classifier they
    cover 79 % where these cover 98 %, and can leave the estimate out. From few pictures, a few of
    them wrong, they are too narrow: of 50 they cover 90 to 98 %, of 20 78 to 95 %, of 5 about half.

    Resampled are not pictures but the counts of the cells (slice of confidence, right or wrong),
    which are multinomial, 64 slices a bin; in a cell each picture has the mean confidence. The
    cost does not depend on n. Raises as `reliability_bins`.
    """
    _check(confidence, num_bins)
    slices = num_bins * SLICES
    cells = _cells(confidence, slices) + slices * right  # wrong pictures, then right ones
    if len(right) == 1:  # which says nothing of the spread
        return Interval(float(abs(right.double() - confidence.double())), math.nan, math.nan)
    counts = torch.bincount(cells).double()
    kept = counts.nonzero()[:, 0]
    means = (torch.bincount(cells, confidence.double()) / counts)[kept]
    gaps = torch.zeros(len(kept), num_bins, dtype=torch.float64)
    gaps[torch.arange(len(kept)), kept % slices // SLICES] = (kept >= slices).double() - means
    n, shares = len(right), (counts[kept] / len(right)).numpy()
    value = float((counts[kept] @ gaps).abs().sum() / n)
    philox = np.random.Generator(np.random.Philox(key=seed))
    drawn = torch.from_numpy(philox.multinomial(n, shares, num_resamples)).double()
    variance = ((drawn @ gaps).abs().sum(1) / n).var()
    found = normal_interval(value, float(variance))
    return Interval(value, max(found.low, 0.0), found.high)


def _cells(confidence: Float[Tensor, " n"], count: int) -> Int64[Tensor, " n"]:
    """Which of `count` equal parts of (0, 1] each confidence lies in; 0 in the first."""
    edges = torch.arange(1, count, dtype=torch.float64) / count
    # 0.2 of a narrower type is not 0.2 in float64: an edge must be rounded as a confidence is.
    return torch.bucketize(confidence.double(), edges.to(confidence.dtype).double())


def _check(confidence: Float[Tensor, " n"], num_bins: int) -> None:
    if num_bins < 1:
        raise ConfigError(f"num_bins={num_bins}: need 1 or more")
    if not len(confidence):
        raise DataError("calibration of no pictures: need at least one")
    wrong = confidence[~((confidence >= 0) & (confidence <= 1))]
    if len(wrong):
        raise DataError(f"confidence {float(wrong[0]):g}: need a probability in [0, 1]")
