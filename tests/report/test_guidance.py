"""What the page says of guidance."""

import json
from typing import Any

import pytest

from hw2.report.content import Content, collect
from hw2.report.guidance import _most
from hw2.report.texts import Texts
from hw2.yaml_text import read_yaml
from tests.report.reading import Elements, changed, page
from tests.report.small_report import SmallReport, interval


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


def test_the_slider_begins_with_the_chosen_and_shows_each_domain_s_own_pictures(
    unchanged: Content,
) -> None:
    guidance = unchanged.parts["guidance"]
    assert guidance.frames[guidance.start].label == "w = 2"
    for frame in guidance.frames:
        mnistm, svhn = frame.grids
        assert mnistm.picture != svhn.picture


def test_charts_of_guidance_leave_out_what_has_no_labels(small: SmallReport) -> None:
    guidance = collect(small.all()).parts["guidance"]
    assert len(guidance.frames) == 4 and guidance.frames[0].label == "w = -1"
    for one in guidance.charts:
        assert [text for _, text in one.x_ticks] == ["0", "1", "2"]
        assert all(len(marks) == 3 for _, marks in one.lines)
    distance = guidance.charts[2]  # 5 at w = -1, 2 at most elsewhere
    assert float(distance.y_ticks[-1][1]) < 3
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    told = "The charts leave out w = -1, beside which the others would look alike: judged accuracy"
    assert f"{told} 10.0 % (8.0-12.0), diversity within a class 180 % (178-182)" in text
    assert "of the real pictures' in the judge's features and 90 % (88-92) in pixels" in text
    falls = (
        "Diversity within a class falls in the judge's features: from 150 % (148-152) of the real"
    )
    assert f"{falls} pictures' at w = 0 to 90 % (88-92) at w = 2; in pixels it is 100 % (98" in text
    trials = json.loads((small.out / "guidance/metrics.json").read_text())["trials"][:2]
    changed(small.out / "guidance/metrics.json", trials=trials)
    guidance = collect(small.all()).parts["guidance"]  # of two weights both are shown
    assert all(len(marks) == 2 for one in guidance.charts for _, marks in one.lines)
    assert "p1.w_left_out" not in [one.key for one in guidance.said]


def test_the_scores_of_guidance_are_each_of_its_domain(small: SmallReport) -> None:
    path = small.out / "guidance/metrics.json"
    trials = json.loads(path.read_text())["trials"]
    keys = ("accuracy", "diversity", "frechet_judge")
    for trial in trials:
        for place, key in enumerate(keys, start=1):
            trial["scores"][f"{key}/mnistm"] = interval(place / 10)
            trial["scores"][f"{key}/svhn"] = interval(place / 10 + 0.05)
    changed(path, trials=trials[:3])  # w = -1, 0, 1
    guidance = collect(small.all()).parts["guidance"]
    texts = (
        ("10.0 % (8.0-12.0)", "15.0 % (13.0-17.0)"),
        ("20 % (18-22)", "25 % (23-27)"),
        ("0.300 (0.280-0.320)", "0.350 (0.330-0.370)"),
    )
    say = Texts.of("en").say
    for one, (mnistm, svhn) in zip(guidance.charts, texts, strict=True):
        told = {name: [say(one.text(mark)) for mark in marks] for name, marks in one.lines}
        assert told["MNIST-M"] == [f"w = 0: {mnistm}", f"w = 1: {mnistm}"]
        assert told["SVHN-style"] == [f"w = 0: {svhn}", f"w = 1: {svhn}"]
    named = zip(("MNIST-M", "SVHN-style"), texts[2], strict=True)
    want = [f"{name} {text}" for name, text in named]
    assert [text for _, text in guidance.frames[0].scores][-2:] == want
    (left_out,) = (one for one in guidance.said if one.key == "p1.w_left_out")
    assert [say(one).replace(":", "") for one in left_out.values["distances"]] == want


def test_a_least_distance_is_clear_where_it_is_below_both_ends(small: SmallReport) -> None:
    path = small.out / "guidance/metrics.json"
    trials = json.loads(path.read_text())["trials"]
    for above, key in ((0.5, "p1.w_frechet_inside"), (0.01, "p1.w_frechet_unclear_inside")):
        for trial in trials:
            value = {0: 9.0, 1: 1.0, 2: 1.0 + above}.get(trial["point"]["guidance_weight"], 20.0)
            trial["scores"]["frechet_judge/svhn"] = interval(value)
        changed(path, trials=trials)
        said = collect(small.all()).parts["guidance"].said
        assert [one.key for one in said if "frechet" in one.key][1] == key


def test_the_largest_of_the_clear_differences_is_quoted(small: SmallReport) -> None:
    pairs = [
        {"point": {"guidance_weight": w}, "baseline": {"guidance_weight": 0}, "n": 5} | found
        for w, found in ((1, interval(-0.1, 0.05)), (2, interval(0.3, 0.4)), (-1, interval(-0.9)))
    ]
    pairs = [{"metric": "accuracy", **pair} for pair in pairs]
    changed(small.out / "guidance/metrics.json", differences=pairs)
    text = Elements(page(collect(small.all()))).text
    loss = "accuracy at w = 1 is 10.0 (5.0 … 15.0) points lower than at w = 0"
    assert loss in " ".join(text.split())


@pytest.mark.parametrize(("end", "other"), [("first", "last"), ("last", "first")])
@pytest.mark.parametrize("clear", [True, False])
def test_an_end_of_the_range_is_not_compared_with_itself(
    small: SmallReport, end: str, other: str, clear: bool
) -> None:
    path = small.out / "guidance/metrics.json"
    trials = json.loads(path.read_text())["trials"]
    for trial in trials:
        w = trial["point"]["guidance_weight"]
        score = interval(9.0 + (w if end == "first" else -w), 0.1 if clear else 5.0)
        trial["scores"]["frechet_judge/svhn"] = score
    changed(path, trials=trials)
    sentences = collect(small.all()).parts["guidance"].said
    *_, said = (one for one in sentences if "frechet" in one.key)  # of the second domain
    assert said.key == f"p1.w_frechet_{'' if clear else 'unclear_'}{end}"
    for texts in map(Texts.of, ("en", "zh-TW")):
        told = texts.say(said)
        assert f"w = {said.values[end]}" in told and f"w = {said.values[other]}" in told
        assert told.count("w =") == 2


def test_limits_in_pairs_decide_where_the_sweep_has_them(small: SmallReport) -> None:
    """Those of the trials alone overlap, as all noises that are hard for one are for the other."""
    path = small.out / "guidance/metrics.json"
    metrics = json.loads(path.read_text())
    base, *_, last = (t["point"] for t in metrics["trials"] if t["point"]["guidance_weight"] >= 0)
    for trial in metrics["trials"]:
        trial["scores"]["diversity"] = interval(1.0, 0.5)
        trial["scores"]["frechet_judge/svhn"] = interval(
            9.0 - trial["point"]["guidance_weight"], 5.0
        )

    def said_with(*pairs: dict[str, object]) -> list[str]:
        changed(path, trials=metrics["trials"], differences=list(pairs))
        said = collect(small.all()).parts["guidance"].said
        assert any(one.key.startswith("p1.w_accuracy") for one in said)
        return [Texts.of("en").say(one) for one in said]

    diversity, pixels, distance = (
        {"metric": metric, "n": 5, "point": last, "baseline": base, **interval(value, 0.1)}
        for metric, value in (
            ("diversity", -0.3),
            ("diversity_pixels", 0.2),
            ("frechet_judge/svhn", -2.0),
        )
    )
    alone, in_pairs = said_with(), said_with(diversity, pixels, distance)
    (told,) = (one for one in alone if one.startswith("Diversity within a class is not shown"))
    assert "pairs" not in told
    (told,) = (one for one in in_pairs if one.startswith("Diversity within a class falls"))
    assert "100 % (50-150) at w = 2, -30.0 (-40.0 … -20.0) points in pairs; in pixels" in told
    assert told.endswith("120 % (118-122), +20.0 (10.0 … 30.0) points in pairs.")
    assert any("of SVHN-style comes out least at w = 2" in one for one in alone)
    (told,) = (one for one in in_pairs if "of SVHN-style" in one)
    assert "is least at w = 2: " in told
    assert told.endswith("at w = 0, a difference of 2.00 (1.90-2.10) in pairs.")
    # A difference of the other way round, from a sweep whose baseline is the last.
    turned = {**diversity, "point": base, "baseline": last, **interval(0.3, 0.1)}
    (told,) = (one for one in said_with(turned) if one.startswith("Diversity within a class falls"))
    assert "-30.0 (-40.0 … -20.0) points in pairs; in pixels" in told


def test_a_claim_needs_limits_that_show_it(small: SmallReport) -> None:
    path = small.out / "guidance/metrics.json"
    trials = json.loads(path.read_text())["trials"]
    for trial in trials:
        trial["scores"]["frechet_judge/svhn"] |= {"low": 0.0, "high": 9.0}
    changed(path, trials=trials)
    said = [one.key for one in collect(small.all()).parts["guidance"].said]
    assert "p1.w_frechet_inside" in said and "p1.w_frechet_unclear_inside" in said
    assert not any(key.startswith("p1.w_unconditional") for key in said)  # guidance in a part only
    path = small.out / "guidance/config.yaml"
    settings = read_yaml(path) | {"guidance_interval": [0, 1]}
    path.write_text(json.dumps(settings))
    said = [one.key for one in collect(small.all()).parts["guidance"].said]
    assert "p1.w_unconditional_same" in said


def test_where_labels_have_no_say_there_is_nothing_to_be_unsure_of(small: SmallReport) -> None:
    path = small.out / "guidance/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"guidance_interval": [0, 1]}))
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert "w = -1 · judged accuracy 10 % · " in text and "exactly one in ten (10 %)" in text
    assert "10.0 % (8.0-12.0)" not in text
