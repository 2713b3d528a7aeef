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
    named = [[one.values["w"] for one in _most(some)] for some in (pairs, pairs[2:], pairs[3:])]
    assert named == [[("0.5", "1"), ("2",)], [("2",)], [("6",)]]
    first, second = _most(pairs)
    assert (first.values["n"], first.values["of"], first.values["base"]) == ("200", "4", "0")
    assert (first.values["gain"], second.values["gain"]) == (
        "6.0 (2.0 \u2026 16.0)",
        "6.0 (3.0 \u2026 16.0)",
    )


def test_a_loss_ties_with_a_gain_of_its_size_but_for_the_last_bits() -> None:
    pairs = [pair(1, 0.06, 0.02), pair(2, -0.0600000001, -0.2)]
    for one in pairs:
        one["high"] = one["value"] + 0.01
    assert [one.values["w"] for one in _most(pairs)] == [("1",), ("2",)]
