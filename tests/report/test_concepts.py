"""What the page says of concepts that were learnt, drawn and graded."""

import dataclasses
import html
import json
import re

import pytest

from hw2.report.concepts import named_way
from hw2.report.content import Content, collect
from hw2.report.sentences import Said
from hw2.yaml_text import read_yaml
from tests.report.reading import Elements, changed, page
from tests.report.small_report import SmallReport, interval


def test_prompts_of_several_concepts_are_left_out_where_none_was_asked_for(
    small: SmallReport,
) -> None:
    path = small.out / "concepts/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"together": []}))
    (small.out / "concepts/together/prompts.json").write_text(json.dumps({"prompts": []}))
    changed(small.out / "grades/metrics.json", together=[])
    content = collect(small.all())
    assert content.missing == {} and content.parts["several"] is None
    assert "This part is missing" not in page(content)


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_targets_that_conflict_are_named(small: SmallReport, language: str) -> None:
    path = small.out / "merged/metrics.json"
    layers = json.loads(path.read_text())["layers"]
    layers["up.attn2.to_k"] |= {"unmet": [1], "residual": 0.25}
    changed(path, layers=layers, worst_residual=0.25, targets=["dog of 'a'", "<new3> of 'b'"])
    text = " ".join(Elements(page(collect(small.all()), language)).text.split())
    assert "<new3> of 'b'" in text and "dog of 'a'" not in text
    assert "2.5e-01" in text and "2.0e-04" in text


def test_one_failed_training_leaves_the_others(small: SmallReport) -> None:
    result = small.results["custom_0"]
    small.results["custom_0"] = dataclasses.replace(result, status="failed", error="no room")
    content = collect(small.all())
    assert set(content.missing) == {"trained/custom_0"}
    text = Elements(page(content)).text
    assert "Step custom_0: no room" in text and "1 of 1 trainings lowered" in text


@pytest.mark.parametrize("broken", ["failed", "metrics"])
def test_drawn_concepts_stay_without_their_grades(small: SmallReport, broken: str) -> None:
    if broken == "failed":
        result = small.results["grades"]
        small.results["grades"] = dataclasses.replace(result, status="failed", error="no CLIP")
    else:
        changed(small.out / "grades/metrics.json", concepts=[], together=3)
    content = collect(small.all())
    assert set(content.missing) == {"grades"}
    made = Elements(page(content))
    assert "the first that were drawn" in made.text and "Step grades: " in made.text
    assert [i for i in made.all("img") if (i["alt"] or "").startswith("Pictures for the prompt")]


@pytest.mark.parametrize(("language", "given"), [("en", "given pictures"), ("zh-TW", "給定影像")])
def test_rows_of_a_concept_are_named(small: SmallReport, language: str, given: str) -> None:
    for status in ("done", "failed"):  # with grades and without
        small.results["grades"] = dataclasses.replace(small.results["grades"], status=status)
        text = page(collect(small.all()), language)
        prompt = "a photo of a <new1>"
        named = f"<span>{given}</span><span>{html.escape(prompt)}</span></div>"
        assert named in text
        about = [i["alt"] or "" for i in Elements(text).all("img")]
        assert any(given in one and prompt in one for one in about)


def test_what_was_drawn_from_other_noises_is_not_put_beside(small: SmallReport) -> None:
    assert "a row each for before training" in page(collect(small.all()))
    path = small.out / "concepts_untrained/config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    assert "a row each for separate" in page(collect(small.all()))


@pytest.mark.parametrize("target", ["v", "ε"])
def test_the_objective_of_concepts_is_that_of_their_model(target: str, small: SmallReport) -> None:
    kind = {"v": "v_prediction", "ε": "epsilon"}[target]
    for name in ("inversion_0", "custom_0"):
        changed(small.out / name / "metrics.json", prediction_type=kind)
    html = page(collect(small.all()))
    assert (
        f"<mi>{target}</mi><mo>\N{MINUS SIGN}</mo><msub><mi>{target}</mi><mi>θ</mi></msub>" in html
    )


def test_a_training_that_does_not_say_what_it_predicts_leaves_the_others(
    small: SmallReport,
) -> None:
    path = small.out / "inversion_0/metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["prediction_type"]
    path.write_text(json.dumps(metrics))
    content = collect(small.all())
    assert content.missing.keys() == {"trained/inversion_0"}
    assert len(content.parts["trained"].table.rows) == 1


def test_the_way_in_which_concepts_were_drawn_is_named(small: SmallReport) -> None:
    path = small.out / "concepts/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"joint": "a", "merged": "b"}))
    assert "Each concept alone, drawn by joint training: given" in page(collect(small.all()))


@pytest.mark.parametrize(
    ("language", "fuse", "diagram"),
    [("en", "can fuse", "What Custom Diffusion trains"), ("zh-TW", "融合", "訓練的部分")],
)
def test_what_several_concepts_come_to_is_explained_and_drawn(
    unchanged: Content, language: str, fuse: str, diagram: str
) -> None:
    text = page(unchanged, language)
    made = Elements(text)
    assert fuse in made.text and "nngen" in made.text
    (drawn,) = re.findall(r'<div class="scroll diagram".*?</div>', text, re.S)
    assert diagram in drawn
    trained = re.findall(r'class="trained".*?<text[^>]*>(.*?)</text>', drawn)
    assert [Elements(one).text for one in trained] == ["<new1>", "WK", "WV"]


def test_scores_of_a_concept_are_each_in_its_column(unchanged: Content) -> None:
    for row in unchanged.parts["concepts"].table.rows:
        assert [cell.order for cell in row[2:7]] == [78, 30, 9, 80, 70]
        assert [cell.text for cell in row[5:7]] == ["80.0, 31.0", "70, 30"]


def test_the_best_pictures_of_a_concept_are_shown(small: SmallReport) -> None:
    path, drawn = small.out / "grades/metrics.json", []
    concepts = json.loads(path.read_text())["concepts"]
    for best in ([0, 1], [1, 0], [3, 1]):
        concepts["0"]["prompts"][0]["best"] = best
        changed(path, concepts=concepts)
        drawn.append(collect(small.all()).parts["concepts"].grids[0].picture)
    assert len(set(drawn)) == 3


def test_a_concept_that_is_no_longer_asked_for_is_left_out(small: SmallReport) -> None:
    path = small.data / "textual_inversion/input.json"
    path.write_text(json.dumps({"0": json.loads(path.read_text())["0"]}))
    content = collect(small.all())
    (grid,) = content.parts["concepts"].grids
    assert grid.title == "<new1>" and "grades" not in content.missing


@pytest.mark.parametrize(
    ("widths", "kind"), [((1.5, 0.5), "clear"), ((1.5, 1.5), "partly"), ((3.0, 3.0), "tied")]
)
def test_ways_are_above_others_where_the_limits_show_it(
    widths: tuple[float, float], kind: str, small: SmallReport
) -> None:
    (one,) = json.loads((small.out / "grades/metrics.json").read_text())["together"]
    pairs = [f"merged - {way}" for way in ("separate", "joint")]
    found = {
        pair: interval(value, width)
        for pair, value, width in zip(pairs, (2.0, 1.0), widths, strict=True)
    }
    changed(
        small.out / "grades/metrics.json",
        together=[one | {"differences_of_both": found, "pictures": 25}],
    )
    (prompt,) = collect(small.all()).parts["several"].prompts
    assert prompt.said[0].key == f"p3.ways_{kind}"
    assert prompt.said[0].values["way"] == Said("ways.merged")
    assert prompt.said[0].values["there"] == "20 % (15-25)"
    assert prompt.grid.cols == ("00", "01", "02", "03", "04")  # of 25


def test_one_way_is_compared_with_none(small: SmallReport) -> None:
    (one,) = json.loads((small.out / "grades/metrics.json").read_text())["together"]
    one["ways"] = {"joint": one["ways"]["joint"]}
    changed(small.out / "grades/metrics.json", together=[one | {"differences_of_both": {}}])
    (prompt,) = collect(small.all()).parts["several"].prompts
    assert prompt.said[0].key == "p3.ways_only"


def test_the_seeds_are_those_of_all_jobs_of_a_figure(small: SmallReport) -> None:
    path = small.out / "grades/config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 5"))
    assert collect(small.all()).parts["concepts"].source.seeds == (0, 5)


def test_scores_of_several_concepts_are_each_in_its_column(unchanged: Content) -> None:
    (one,) = unchanged.parts["several"].prompts
    assert one.scores.columns[1:3] == ("<new1>", "<new3>")
    numbers = [[cell.order for cell in row[1:]] for row in one.scores.rows]
    assert numbers == [[60 + n, 62 + n, 58 + n, 0.1 * n] for n in range(3)]
    never = one.said[-1]
    assert (never.key, never.values["ways"]) == ("p3.ways_never", (Said("ways.separate"),))


def test_a_prompt_that_was_another_before_the_training_is_not_put_beside(
    small: SmallReport,
) -> None:
    path = small.out / "concepts_untrained/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"together": ["a <new1> on a <new3>"]}))
    (one,) = collect(small.all()).parts["several"].prompts
    assert one.grid.rows == tuple(map(named_way, ("separate", "joint", "merged")))


def test_what_is_not_shown_is_no_loss(small: SmallReport) -> None:
    concepts = json.loads((small.out / "grades/metrics.json").read_text())["concepts"]
    concepts["2"]["prompts"][0] |= {"image_change": interval(-1.0, 2), "passed": False}
    changed(small.out / "grades/metrics.json", concepts=concepts)
    changed(small.out / "custom_0/metrics.json", **{"eval/loss_change": interval(0.1, 0.2)})
    parts = collect(small.all()).parts
    assert [one.key for one in parts["concepts"].said] == ["p3.alone_risen"]
    assert [row[7].text for row in parts["concepts"].table.rows] == ["\u2713", "\u2717"]
    assert [one.key for one in parts["trained"].said] == ["p3.trained"]


def test_of_many_conflicts_five_are_named_and_of_layers_the_most_moved(small: SmallReport) -> None:
    path = small.out / "merged/metrics.json"
    layers = json.loads(path.read_text())["layers"]
    layers["up.attn2.to_k"] |= {"unmet": [*range(6)], "moved": 0.5}
    changed(path, layers=layers, targets=[f"word {n}" for n in range(7)])
    (said,) = collect(small.all()).parts["merge"].said
    assert said.values["named"] == (*(f"word {n}" for n in range(5)), "\u2026")
    assert (said.values["unmet"], said.values["moved"]) == ("6", "50 %")
