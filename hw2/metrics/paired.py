"""Two accuracies on the same pictures or noises: is one better, and by how much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from hw2.errors import DataError
from hw2.metrics.intervals import Interval, check_sizes, student_interval, wilson


@dataclass(frozen=True)
class McNemar:
    """Of `n` pictures, `only_a` only the first has right and `only_b` only the second.

    `p_value` is that of equal accuracies; `difference` is accuracy b - accuracy a.
    """

    only_a: int
    only_b: int
    n: int
    p_value: float
    difference: Interval


def mcnemar(right_a: Bool[Tensor, " n"], right_b: Bool[Tensor, " n"]) -> McNemar:
    """McNemar's test (McNemar 1947) in its exact form, with the difference of accuracies.

    Given only_a + only_b, under equal accuracies only_a is binomial with p = 1/2; the p-value is
    two-sided. The interval is `paired_difference`'s, and so can on occasion hold 0 where the test
    rejects, or the reverse. Raises DataError for no pictures or for numbers that differ.
    """
    from scipy.stats import binomtest

    if len(right_a) != len(right_b):
        raise DataError(f"{len(right_a)} and {len(right_b)} pictures: need the same ones twice")
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    both, n = int((right_a & right_b).sum()), len(right_a)
    apart = only_a + only_b
    p_value = float(binomtest(only_a, apart, 0.5).pvalue) if apart else 1.0
    return McNemar(only_a, only_b, n, p_value, paired_difference(both, only_a, only_b, n))


def paired_difference(both: int, only_a: int, only_b: int, n: int) -> Interval:
    """Accuracy b - accuracy a on the same n pictures (Newcombe 1998 Stat. Med. 17:2635, method 10).

    The arms of the two Wilson intervals are combined as sides of a triangle,
    sqrt(x^2 - 2 phi x y + y^2), phi being the correlation of being right, with n / 2 taken from
    its numerator where that is above 0. Raises DataError for no pictures.
    """
    a, b = wilson(both + only_a, n), wilson(both + only_b, n)
    neither = n - both - only_a - only_b
    product = float(both * neither - only_a * only_b)
    if product > 0:
        product = max(product - n / 2, 0.0)
    margins = (both + only_a) * (only_b + neither), (both + only_b) * (only_a + neither)
    phi = product / math.sqrt(margins[0]) / math.sqrt(margins[1]) if all(margins) else 0.0

    def side(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    difference = (only_b - only_a) / n
    below = side(b.value - b.low, a.high - a.value)
    above = side(b.high - b.value, a.value - a.low)
    return Interval(difference, difference - below, difference + above)


def difference_over_noises(apart: Float[Tensor, " n"], pictures: int) -> Interval:
    """The mean of `apart`: of each of n noises the difference of two shares, each of `pictures`.

    Student's limits, for which two pairs are added to the squares about the mean, one with a
    picture more right and one with a picture less (Bonett & Price 2012 add such pairs to a table).
    Without them the interval would be empty where no noise differs, and hold a difference of one
    picture at each hundredth of 50 noises four times in ten. The limits of one noise are nan.
    Raises DataError for none.
    """
    check_sizes([apart])
    apart = apart.double()
    n, mean = len(apart), float(apart.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    squares = float((apart - mean).square().sum()) + 2 / pictures**2
    found = student_interval(mean, [(squares / (n - 1) / n, n - 1)])
    return Interval(mean, max(found.low, -1.0), min(found.high, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of m tests at once, in the given order (Holm 1979).

    The i-th smallest is multiplied by m + 1 - i, made no smaller than the ones before it, and at
    most 1. Rejecting those below alpha keeps the chance of any false rejection below alpha.
    Raises DataError for a p-value outside [0, 1].
    """
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise DataError(f"p-value {wrong[0]}: need one in [0, 1]")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min((len(p_values) - rank) * p_values[i], 1.0))
        adjusted[i] = largest
    return adjusted
