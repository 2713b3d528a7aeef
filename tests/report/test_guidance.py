"""What the report says of paired differences."""

from typing import Any

from hw2.report.guidance import _most


def pair(weight: float, value: float, low: float) -> dict[str, Any]:
    """Of accuracy at a weight against that without guidance."""
    limits = {"value": value, "low": low, "high": value + 0.1}
    point, baseline = {"guidance_weight": weight}, {"guidance_weight": 0.0}
    return {**limits, "n": 200, "point": point, "baseline": baseline}


def test_weights_that_tie_are_all_named() -> None:
    pairs = [pair(0.5, 0.06, 0.02), pair(1, 0.06, 0.02), pair(2, 0.06, 0.03), pair(6, 0.01, -0.02)]
    assert _most(pairs[1:]).values["w"] == "1"
    assert _most(pairs).values["w"] == "0.5, 1"
    assert _most(pairs[3:]).values["w"] == "6"
