"""The page from what the jobs left: all there, escaped, and honest about what is not."""

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import nn

from hw2.faces.report import eta_name, interpolation_names
from hw2.metrics.intervals import Interval
from hw2.report.concepts import named_way
from hw2.report.confusions import Matrix, worst
from hw2.report.content import Content, collect
from hw2.report.faces import _compared, _said_of_distances
from hw2.report.page import render
from hw2.report.parts import Missing
from hw2.report.pictures import read_tiles, tiles
from hw2.report.sentences import EMPTY, Said
from hw2.report.texts import Texts
from hw2.settings.digits import DiffusionConfig, NetworkConfig
from hw2.weights import save_weights
from hw2.yaml_text import read_yaml
from tests.report.small_report import CLASSES, RUN, TOGETHER, SmallReport, interval


@pytest.fixture
def small(tmp_path: Path) -> SmallReport:
    return SmallReport(tmp_path)


def page(content: Content, language: str = "en") -> str:
    return render(content, language, ui="mlflow ui", code="0123", made=())


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_a_page_is_whole_and_needs_no_network(small: SmallReport, language: str) -> None:
    content = collect(small.all())
    assert content.missing == {}
    text = page(content, language)
    made = Elements(text)
    images = made.all("img")
    assert len(images) > 30
    assert all((i["src"] or "").startswith("data:image/png;base64,") and i["alt"] for i in images)
    assert not made.all("link") and not made.all("iframe")
    assert not re.search(r"url\((?!data:)|@import|src=\"http", text)
    figures = [f["id"] for f in made.all("figure")]
    numbers = {
        kind: [f for f in figures if f and f.startswith(kind)] for kind in ("figure", "table")
    }
    for kind, found in numbers.items():
        assert found == [f"{kind}-{n + 1}" for n in range(len(found))]
    for result in small.all():
        assert result.step.command in made.text
    for figure in re.findall(r"<figure.*?</figure>", text, re.S):
        part = Elements(figure)
        (caption,) = re.findall(r"<figcaption>\s*<p [^>]+><b>[^<]+</b>(.*?)</p>", figure, re.S)
        commands = [c for c in part.all("code") if c.get("class") == "command"]
        runs = [a for a in part.all("a") if f"/#/runs/{RUN}" in (a["href"] or "")]
        assert len(caption) > 5 and commands and len(commands) == len(runs)
        assert part.text.count("seed = ") == len(runs)


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_a_page_is_for_all_readers_and_lets_nothing_else_in(
    small: SmallReport, language: str
) -> None:
    made = Elements(page(collect(small.all()), language))
    assert made.all("html") == [{"lang": language}]
    assert made.all("th") and {head.get("scope") for head in made.all("th")} == {"col", "row"}
    assert all(one.get("role") and one.get("aria-label") for one in made.all("svg"))
    told = {
        one.get("name") or one.get("http-equiv"): one.get("content") for one in made.all("meta")
    }
    assert told["viewport"] == "width=device-width, initial-scale=1"
    policy = (told["Content-Security-Policy"] or "").split("; ")
    assert policy[:2] == ["default-src 'none'", "img-src data:"] and "form-action 'none'" in policy


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("sqlite:////home/me/mlflow.db", "http://127.0.0.1:5000"),
        ("https://mlflow.example.org/", "https://mlflow.example.org"),
        ("javascript:alert(1)//", "http://127.0.0.1:5000"),
    ],
)
def test_a_run_is_linked_to_where_it_can_be_seen(small: SmallReport, uri: str, link: str) -> None:
    changed(small.out / "samples/mlflow_run.json", tracking_uri=uri)
    changed(small.out / "merged/mlflow_run.json", run_id="../../x")
    content = collect(small.all())
    assert content.outputs["samples"].run_link == f"{link}/#/runs/{RUN}"
    assert content.missing["merge"].error.endswith("merged/mlflow_run.json names no run")


def test_names_from_files_stay_text(small: SmallReport) -> None:
    text = page(collect(small.all()))
    assert "red <b>grass</b>" in Elements(text).text
    assert "<b>grass" not in text and "<new1>" not in text
    assert TOGETHER in Elements(text).text
    data = re.search(r'class="cells">(.*?)</script>', text, re.S)
    assert data is not None and "<" not in data[1]
    assert any("red <b>grass</b>" in cell["told"] for cell in json.loads(data[1]))


@pytest.mark.parametrize(("language", "way"), [("en", "joint training"), ("zh-TW", "聯合訓練")])
def test_only_ways_are_named_as_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, way: str
) -> None:
    names = ("joint", "merged", "table.mean")
    monkeypatch.setattr("tests.report.small_report.CLASSES", names)
    content = collect(SmallReport(tmp_path).all())
    text = page(content, language)
    told = [[cell.text for cell in row[:2]] for row in content.parts["clip"].worst.rows]
    assert told == [["joint", "merged"], ["table.mean", "joint"]]
    for name in names:
        assert f'<th scope="row">{name}</th>' in text
    assert f'<th scope="row">{way}</th>' in text and f"<span>{way}</span>" in text


def test_what_came_out_decides_the_sentences(small: SmallReport) -> None:
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    gain = "accuracy at w = 2 is 20.0 (18.0 … 22.0) points higher than at w = 0"
    assert f"{gain}." in text
    assert "Judged accuracy" not in text
    assert "Diversity within a class falls" in text
    assert "distance of MNIST-M is least between the ends of the range" in text
    assert "Of 5 noises drawn twice with other fresh noise, only η = 0 repeats all" in text
    assert "share repeated to the byte, of 5 noises 100 %" in text
    assert "Half-way, lerp keeps 0.71" in text
    assert "but the interval of its difference to some other way includes 0" in text
    path = small.out / "guidance/metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["differences"][:]
    path.write_text(json.dumps(metrics))
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert "Judged accuracy rises from 70.0 % (68.0-72.0) at w = 0 to 90.0 %" in text
    for trial in metrics["trials"]:
        trial["scores"]["accuracy"] = {"value": 0.5, "low": 0.4, "high": 0.6}
    path.write_text(json.dumps(metrics))
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert "Judged accuracy is not shown to change" in text and "rises from 70" not in text


def test_a_failed_step_is_told_in_its_place_and_the_rest_is_there(small: SmallReport) -> None:
    result = small.results["clip"]
    small.results["clip"] = dataclasses.replace(result, status="failed", error="no <model>: get it")
    (small.out / "merged/metrics.json").write_text("{")
    (small.out / "eta_sheet/00_eta_0.5.png").write_bytes(b"")
    del small.results["guidance"]
    content = collect(small.all())
    assert set(content.missing) == {"clip", "merge", "etas", "guidance"}
    told = content.missing
    assert told["clip"] == Missing("clip", "no <model>: get it", result.step.command)
    assert "metrics.json: broken JSON" in told["merge"].error
    assert "00_eta_0.5.png: " in told["etas"].error
    made = Elements(page(content))
    assert "Step clip: no <model>: get it" in made.text
    assert "have no step called guidance" in made.text
    assert "1 of 12 steps failed" in made.text
    assert len(made.all("figure")) > 8


def test_a_problem_of_which_no_step_is_there_is_left_out(small: SmallReport) -> None:
    for name in small.results.keys() - {"faces", "eta_sheet", "interpolation", "eta"}:
        del small.results[name]
    made = Elements(page(collect(small.all())))
    assert {one.get("id") for one in made.all("section")} == {"p2", "references", "runs"}
    links = {str(one["href"]) for one in made.all("a")}
    assert {link for link in links if link[0] == "#"} == {"#p2", "#references", "#runs"}
    assert "have no step called" not in made.text
    del small.results["eta_sheet"]
    assert "have no step called eta_sheet" in Elements(page(collect(small.all()))).text
    small.results.clear()
    made = Elements(page(collect(small.all())))
    assert {"p1", "p2", "p3"} < {one.get("id") for one in made.all("section")}


@pytest.mark.parametrize("content", ["[]", '{"eval/accuracy": "<script>"}', "null", '{"a": 1e999}'])
def test_hostile_metrics_are_a_missing_figure(small: SmallReport, content: str) -> None:
    for name in small.results:
        (small.out / name / "metrics.json").write_text(content)
        if name in ("samples", "grades"):
            (small.out / name / "config.yaml").write_text("out: [")
    made = collect(small.all())
    assert set(made.missing) >= {"sheets", "guidance", "clip", "merge", "trained"}
    assert "<script>&" not in page(made)


def changed(path: Path, **values: object) -> None:
    """Change values of a file of JSON."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_small_errors_are_written_alike(small: SmallReport) -> None:
    error = {"value": 3.26e-5, "low": 0.0, "high": 1.3e-4}
    changed(small.out / "faces/metrics.json", mse=error, mse_by_picture={"00": 3.26e-5})
    trials = json.loads((small.out / "eta/metrics.json").read_text())["trials"]
    trials[0]["scores"]["mse"] = error
    changed(small.out / "eta/metrics.json", trials=trials)
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert text.count("0.00003 (0.00000-0.00013)") == 2 and "the largest 0.0000326" in text
    assert "255; η = 0.5: 25 (10-40), η = 1: 50 (20-80))" in text
    assert "255) 0 ·" in text  # of η = 0 from itself, which is exact


def test_noises_that_were_not_scored_are_not_shown(small: SmallReport) -> None:
    """A chunk holds five, whatever a trial is told."""
    for name in ("eta", "guidance"):
        path = small.out / name / "metrics.json"
        trials = json.loads(path.read_text())["trials"]
        changed(path, trials=[trial | {"samples": 2} for trial in trials])
    parts = collect(small.all()).parts
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert "share repeated to the byte, of 2 noises" in text and "of 5 noises" not in text
    assert {grid.cols for frame in parts["guidance"].frames for grid in frame.grids} == {
        ("001", "002")
    }


def test_a_sheet_of_few_columns_is_kept_small_enough_for_a_page_of_paper(
    small: SmallReport,
) -> None:
    classes = [
        attrs.get("class") or "" for attrs in Elements(page(collect(small.all()))).all("div")
    ]
    grids = [set(words.split()) for words in classes if "grid" in words.split()]
    assert {"grid", "tall"} in grids  # ten digits by five noises
    assert {"grid"} in grids and {"grid", "wide"} in grids


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


def test_the_slider_begins_with_the_chosen_and_shows_each_domain_s_own_pictures(
    small: SmallReport,
) -> None:
    guidance = collect(small.all()).parts["guidance"]
    assert guidance.frames[guidance.start].label == "w = 2"
    for frame in guidance.frames:
        mnistm, svhn = frame.grids
        assert mnistm.picture != svhn.picture


def test_means_stand_below_their_columns(small: SmallReport) -> None:
    means = {"accuracy": 0.9, "diversity": 0.8, "diversity_pixels": 0.7}
    path = small.out / "samples/metrics.json"
    metrics = json.loads(path.read_text())
    for key, value in means.items():
        metrics[f"eval/{key}"] |= interval(value)
    path.write_text(json.dumps(metrics))
    scores = collect(small.all()).parts["sheets"].scores
    (foot,) = scores.foot
    told = dict(zip(scores.columns, (cell.order for cell in foot), strict=True))
    assert {key: told[f"score.{key}"] for key in means} == means


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


def test_losses_are_told_as_losses(small: SmallReport) -> None:
    assert "lower for" not in page(content := collect(small.all()))
    assert [one.key for one in content.parts["trained"].said] == ["p3.trained"]
    pair = json.loads((small.out / "clip/metrics.json").read_text())["comparisons"][0]
    changed(small.out / "clip/metrics.json", comparisons=[pair | {"difference": interval(-0.1)}])
    changed(small.out / "custom_0/metrics.json", **{"eval/loss_change": interval(0.1)})
    path = small.out / "grades/metrics.json"
    concepts, (together,) = (json.loads(path.read_text())[key] for key in ("concepts", "together"))
    concepts["2"]["prompts"][0]["image_change"] = interval(-9.0, 2)
    together["ways"]["separate"]["both"] = interval(61.0, 1)
    together["differences_of_both"]["joint - separate"] = interval(-2.0, 0.4)
    changed(path, concepts=concepts, together=[together])
    settings = small.out / "guidance/config.yaml"
    settings.write_text(json.dumps(read_yaml(settings) | {"guidance_interval": [0, 1]}))
    trials = json.loads((small.out / "guidance/metrics.json").read_text())["trials"]
    trials[0]["scores"]["accuracy"] = interval(0.05)
    changed(small.out / "guidance/metrics.json", trials=trials)
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert "cifar is worse than simple by 10.0 (8.0 … 12.0) points" in text
    assert "1 of 2 trainings lowered" in text
    assert "The error is higher after training in custom_0" in text
    assert "the image score is shown to be higher for 1 of 2 prompts" in text
    assert "It is shown to be lower for a photo of a <new3>: -9.0 (-11.0 … -7.0)." in text
    assert "separate inversions \u2212 joint training: 2.00 (1.60-2.40)" in text
    assert "At w = -1 the labels have no say: 5.0 % (3.0-7.0) are read as meant." in text


def test_prompts_differ_by_the_adjusted_p_and_b_stands_before_a(small: SmallReport) -> None:
    pair = json.loads((small.out / "clip/metrics.json").read_text())["comparisons"][0]
    pair |= {"only_a_right": 3, "only_b_right": 12, "p": 0.03, "p_holm": 0.06}
    changed(small.out / "clip/metrics.json", comparisons=[pair])
    found = collect(small.all()).parts["clip"]
    (row,) = found.comparisons.rows
    assert [cell.text for cell in row[2:]] == ["12 : 3", "0.06"]
    assert [one.key for one in found.said][1:] == ["p3.prompts_same"]


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


def test_the_weights_the_clip_and_the_trainings_are_named(small: SmallReport) -> None:
    path = small.out / "grades/config.yaml"
    path.write_text(
        path.read_text()
        .replace("model: null", "model: ViT-B-32")
        .replace("pretrained: null", "pretrained: openai")
    )
    parts = collect(small.all()).parts
    trained = dict(parts["sheets"].model)
    assert {"step", "seed"} <= trained.keys()
    assert (trained["batch_size"], trained["learning_rate"]) == ("256", "0.003")  # by their card
    assert "model" not in dict(parts["clip"].source.settings)  # null: the small CLIP
    assert parts["concepts"].clip == parts["several"].clip == "ViT-B-32 / openai"
    assert [cell.text for cell in parts["trained"].table.rows[0][3:5]] == ["0.002", "auto"]
    assert parts["clip"].worst.rows[0][3].text == "33 % (6-79)"  # Wilson's, of one in three


def test_what_has_no_limits_is_not_compared(small: SmallReport) -> None:
    path = small.out / "samples/metrics.json"
    bare = {"value": 6.63, "low": None, "high": None, "n": 40}
    changed(path, **{"eval/diversity": bare})
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert f"within a class is 663 % ({EMPTY}) of the real pictures'; in pixels it is 90 %" in text


def test_the_number_format_is_told_with_what_auto_was(small: SmallReport) -> None:
    tag = {"kind": "tag", "time_ms": 1, "values": {"precision.auto": "bf16"}, "step": 0}
    for name in ("samples", "faces"):
        (small.out / name / "journal.jsonl").write_text(json.dumps(tag) + "\n")
    parts = collect(small.all()).parts
    told = {name: dict(parts[name].source.settings)["precision"] for name in ("sheets", "given")}
    assert told == {"sheets": "auto (bf16)", "given": "fp32"}
    assert dict(parts["trained"].source.settings)["precision"] == "auto"  # on a cluster: not known


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


def drawn_by(small: SmallReport, diffusion: DiffusionConfig, **settings: object) -> None:
    """Let the sheets be of other weights, or drawn otherwise."""
    network = NetworkConfig(patch=4, channels=(64,), attention=(False,))
    about = {"network": network.model_dump(), "diffusion": diffusion.model_dump()}
    weights = small.root / "weights.safetensors"
    save_weights(weights, {"ema": nn.Linear(1, 1)}, {"kind": "digit_ddpm", **about, "seed": 1})
    path = small.out / "samples/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"model": str(weights), **settings}))


@pytest.mark.parametrize(
    ("diffusion", "settings", "told", "untold"),
    [
        (
            DiffusionConfig(prediction_type="epsilon", timesteps="uniform", drop="digit"),
            {"sampler": "ddpm", "num_inference_steps": 1000},
            (
                *("prediction of the noise ε", "λ[t] * mean((net(xt, t, *c) - noise) ** 2)"),
                *(
                    "= 1 / T",
                    "else (null, domain)",
                    "t, null, domain)",
                    "ddpm_step(x0, eps, t, s)",
                ),
                *("through all T timesteps", "the digit becomes “null”", "is multiplied by their"),
            ),
            ("prediction v", "DDIM (Song", "∝ λ[t]", "null, null", "trained on a GPU"),
        ),
        (
            DiffusionConfig(min_snr_gamma=None, drop="separate"),
            {"sampler": "unipc", "clip_x0": False},
            ("prediction v", "all count alike", "each on its own", "by unipc, of", "unipc_step("),
            ("min-SNR", "λ", "x0 = clip(", "keep ="),
        ),
    ],
)
def test_the_implementation_is_told_as_it_was(
    small: SmallReport,
    diffusion: DiffusionConfig,
    settings: dict[str, object],
    told: tuple[str, ...],
    untold: tuple[str, ...],
) -> None:
    drawn_by(small, diffusion, **settings)
    (part,) = re.findall(r'<section id="p1">.*?<section id="p2">', page(collect(small.all())), re.S)
    text = " ".join(Elements(part.partition("<h3>2.")[0]).text.split())
    assert [words for words in told if words not in text] == []
    assert [words for words in untold if words in text] == []
    assert "scale_shift = false" in text


def test_by_default_the_implementation_is_that_of_the_released_weights(small: SmallReport) -> None:
    own = page(collect(small.all()))
    del small.results["samples"]
    without = page(collect(small.all()))
    gpu = "These weights were trained on a GPU"
    assert gpu in own and gpu not in without and "scale_shift = true" in own
    for words in ("DDIM (Song et al. 2021)", "its prediction v", "t is drawn in", "ddim_step("):
        assert words in own and words in without


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


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            (
                "the starting noise that all digits of an index share",
                "adjusted for the number of comparisons (3)",
            ),
        ),
        ("zh-TW", ("使用相同的起始雜訊", "校正後 p = 0.01")),
    ],
)
def test_what_the_limits_leave_out_is_told(
    small: SmallReport, language: str, told: tuple[str, ...]
) -> None:
    text = " ".join(Elements(page(collect(small.all()), language)).text.split())
    assert all(words in text for words in told)


def test_the_worst_confusions_are_told_to_be_picked(small: SmallReport) -> None:
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert (
        "2 of 6 possible ones (of equal ones the first), picked because they came out largest"
        in text
    )


def test_a_caption_has_one_table(small: SmallReport) -> None:
    figures = re.findall(r"<figure.*?</figure>", page(collect(small.all())), re.S)
    assert max(figure.count('<table class="sortable"') for figure in figures) == 1


def test_a_mean_stays_below_what_is_sorted_and_baselines_have_an_order(small: SmallReport) -> None:
    parts = collect(small.all()).parts
    text = page(collect(small.all()))
    (foot,) = re.findall(r"<tfoot>(.*?)</tfoot>", text, re.S)
    assert '<th scope="row">mean</th>' in foot and "MNIST-M" not in foot
    assert [row[6].order for row in parts["concepts"].table.rows] == [70, 70]


def test_what_scrolls_has_a_name(small: SmallReport) -> None:
    made = Elements(page(collect(small.all())))
    boxes = [one for one in made.all("div") if one.get("class") == "scroll" and "tabindex" in one]
    names = [one.get("aria-label") for one in boxes]
    assert len(boxes) > 5 and len(set(names)) == len(names) and "Table 1" in names
    assert all(one.get("role") == "region" for one in boxes)


def test_a_figure_is_named_by_its_caption_without_settings_and_commands(small: SmallReport) -> None:
    text = page(collect(small.all()))
    for figure in re.findall(r"<figure.*?</figure>", text, re.S):
        made = Elements(figure)
        (name,) = (one["aria-labelledby"] for one in made.all("figure"))
        assert [one.get("id") for one in made.all("p")].count(name) == 1
        tables = [one for one in made.all("table") if one.get("class") == "sortable"]
        assert all(table["aria-labelledby"] == name for table in tables)
    assert all({"aria-label", "aria-labelledby"} & set(one) for one in Elements(text).all("table"))


@pytest.mark.parametrize(
    ("language", "fuse", "diagram"),
    [("en", "can fuse", "What Custom Diffusion trains"), ("zh-TW", "融合", "訓練的部分")],
)
def test_what_several_concepts_come_to_is_explained_and_drawn(
    small: SmallReport, language: str, fuse: str, diagram: str
) -> None:
    text = page(collect(small.all()), language)
    made = Elements(text)
    assert fuse in made.text and "nngen" in made.text
    (drawn,) = re.findall(r'<div class="scroll diagram".*?</div>', text, re.S)
    assert diagram in drawn
    trained = re.findall(r'class="trained".*?<text[^>]*>(.*?)</text>', drawn)
    assert [Elements(one).text for one in trained] == ["<new1>", "WK", "WV"]


def test_one_wrong_of_fifty_looks_otherwise_than_nine() -> None:
    cells = ((0, 0, 40), (0, 1, 1), (0, 2, 9), (1, 1, 50), (2, 2, 50))
    matrix = Matrix(CLASSES, cells, (50, 50, 50), {}, 2)
    seen = [matrix.opacity(place) for place in range(len(cells))]
    assert seen[2] > 2 * seen[1] and seen[3] > seen[0]


def test_confusions_are_listed_from_the_most_frequent_as_shares_of_the_true_class() -> None:
    cells = ((0, 1, 1), (0, 2, 9), (1, 0, 4), (2, 2, 20))
    rows = worst(Matrix(CLASSES, cells, (50, 10, 20), {}, 0)).rows
    brick, grass, coin = CLASSES
    named = [(brick, coin, "9"), (grass, brick, "4"), (brick, grass, "1")]
    assert [tuple(cell.text for cell in row[:3]) for row in rows] == named
    assert [row[3].order for row in rows] == [9 / 50, 4 / 10, 1 / 50]


def test_the_most_frequent_confusion_is_shown_first(small: SmallReport) -> None:
    path = small.out / "clip/predictions/simple/part-00000.parquet"
    table = pq.read_table(path).to_pydict()
    table["top5"][6:8] = [[CLASSES[i] for i in (0, 2, 1)]] * 2
    pq.write_table(pa.table(table), path)
    matrix = collect(small.all()).parts["clip"].matrix
    assert matrix.cells[matrix.first] == (2, 0, 3)


def test_hits_and_misses_are_told_with_what_they_are(
    small: SmallReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.draw(small.data / "clip_zeroshot/val/0_2.png", 200)  # the brick that was taken for grass
    clip = collect(small.all()).parts["clip"]
    brick, grass, coin = CLASSES
    assert len(clip.hits) == 5 and all(one.true == one.said for one in clip.hits)
    missed = {(one.true, one.said): one for one in clip.misses}
    assert missed.keys() == {(brick, grass), (coin, brick)}
    assert missed[brick, grass].picture.width == 64 and missed[coin, brick].picture.width == 32
    (told,) = clip.matrix.examples[clip.matrix.first]
    assert (told.true, told.said, told.probability) == (brick, grass, "70.0 %")
    assert [len(clip.matrix.examples[place]) for place in range(5)] == [2, 1, 3, 1, 2]
    assert clip.matrix.totals == (3, 3, 3)
    monkeypatch.setattr("hw2.report.confusions.MAX_CELLS", 1)
    assert [*collect(small.all()).parts["clip"].matrix.examples] == [clip.matrix.first]


def test_scores_of_prompts_are_told_with_chance(small: SmallReport) -> None:
    clip = collect(small.all()).parts["clip"]
    told = {"prompts": "simple", "top1": "77.8 % (75.8-79.8)", "top5": "100.0 % (98.0-102.0)"}
    assert clip.said[0].values == told | {"chance": "33.3 %", "n": "9"}
    (row,) = clip.comparisons.rows
    assert (row[0].text, row[1].order) == ("cifar \N{MINUS SIGN} simple", 0.1)


def test_a_classified_picture_that_is_gone_is_told(small: SmallReport) -> None:
    (small.data / "clip_zeroshot/val/1_4.png").unlink()
    told = collect(small.all()).missing["clip"].error
    assert told == "1_4.png was classified and is no longer among the pictures"


def test_guessing_is_beaten_where_the_limits_show_it(small: SmallReport) -> None:
    for chance, key in ((0.75, "p3.accuracy_above"), (0.77, "p3.accuracy_not_above")):
        changed(small.out / "clip/metrics.json", chance=chance)  # top-1 is 0.778, at least 0.758
        assert collect(small.all()).parts["clip"].said[0].key == key


def test_pictures_stand_where_their_labels_say(small: SmallReport) -> None:
    path = small.out / "eta_sheet/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"etas": [1.0, 0.0, 0.5]}))
    parts = collect(small.all()).parts
    digits = [
        [small.out / f"samples/svhn/{digit}_{index:03d}.png" for index in (1, 2)]
        for digit in range(10)
    ]
    assert parts["sheets"].grids[1].picture == tiles([read_tiles(row) for row in digits])
    noises = [f"{n:02d}" for n in range(4)]
    faces = [small.out / f"faces/{noise}.png" for noise in noises]
    assert parts["given"].grid.picture == tiles([read_tiles(faces)])
    etas = [
        [small.out / f"eta_sheet/{eta_name(noise, eta)}.png" for eta in (1.0, 0.0, 0.5)]
        for noise in noises
    ]
    assert parts["etas"].grid.picture == tiles([read_tiles(row) for row in etas])
    ways = [
        [small.out / f"interpolation/{name}.png" for name in interpolation_names(way, 5)]
        for way in ("slerp", "lerp")
    ]
    assert parts["interpolation"].grid.picture == tiles([read_tiles(row) for row in ways])


def test_scores_of_the_sheets_are_each_in_its_place(small: SmallReport) -> None:
    found = {"accuracy": 0.91, "accuracy/mnistm": 0.92, "accuracy/svhn": 0.93}
    found |= {"accuracy_real": 0.97, "diversity": 0.85, "diversity_pixels": 0.75}
    scores = {f"eval/{key}": interval(value) | {"n": 40} for key, value in found.items()}
    changed(small.out / "samples/metrics.json", **scores)
    accuracy, diversity, _ = collect(small.all()).parts["sheets"].said
    assert (accuracy.values["mean"], accuracy.values["real"]) == (
        "91.0 % (89.0-93.0)",
        "97.0 % (95.0-99.0)",
    )
    want = ("MNIST-M 92.0 % (90.0-94.0)", "SVHN-style 93.0 % (91.0-95.0)")
    assert accuracy.values["each"] == want
    assert diversity.values == {"share": "85 % (83-87)", "pixels": "75 % (73-77)"}


def test_the_last_eta_up_to_which_faces_move_away_is_named() -> None:
    apart = {eta: Interval(eta, eta, eta) for eta in (0.0, 0.25, 0.5, 1.0)}
    added = {"0.25": interval(9), "0.5": interval(9), "1": interval(0.01)}
    (said,) = _said_of_distances(0.0, apart, added)
    assert (said.key, said.values["to"]) == ("p2.eta_rises_to", "0.5")
    assert (said.values["first"], said.values["last"]) == ("0", "1")


@pytest.mark.parametrize(
    ("lerp", "order"), [(0.97, "less"), (0.985, "same"), (1.015, "same"), (1.03, "more")]
)
def test_numbers_within_a_fiftieth_are_the_same(lerp: float, order: str) -> None:
    said = _compared("norm", {"slerp": 1.0, "lerp": lerp}, ".2f")
    assert said == Said(f"p2.norm_{order}", {"slerp": "1.00", "lerp": f"{lerp:.2f}"})


def test_a_strip_goes_from_noise_to_picture(small: SmallReport) -> None:
    for strip in collect(small.all()).parts["reverse"].strips:
        assert [t for t, _ in strip.states] == [999, 800, 600, 400, 200, 0]
    for path in (small.out / "samples/reverse").glob("svhn_*.png"):
        path.unlink()
    assert "has no states of svhn: delete" in collect(small.all()).missing["reverse"].error


def test_diversity_is_more_or_less_where_the_limits_show_it(small: SmallReport) -> None:
    for value, width, kind in (
        (1.1, 0.05, "more"),
        (1.1, 0.2, "same"),
        (0.9, 0.05, "less"),
        (0.9, 0.2, "same"),
    ):
        found = interval(value, width) | {"n": 40}
        changed(small.out / "samples/metrics.json", **{"eval/diversity": found})
        said = collect(small.all()).parts["sheets"].said
        assert said[1].key == f"p1.sheets_diversity_{kind}"


def test_faces_that_are_not_met_are_told_by_the_worst(small: SmallReport) -> None:
    errors = {"00": 0.25, "01": 21.5, "02": 3.0}
    changed(small.out / "faces/metrics.json", passed=False, mse_by_picture=errors)
    (said,) = collect(small.all()).parts["given"].said
    assert (said.key, said.values["worst"]) == ("p2.given_failed", "21.5")


def test_etas_may_fall(small: SmallReport) -> None:
    path = small.out / "eta_sheet/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"etas": [1.0, 0.0, 0.5]}))
    found = collect(small.all()).parts["etas"]
    assert found.grid.cols == ("η = 1", "η = 0", "η = 0.5")
    assert [text for _, text in found.chart.x_ticks] == ["0", "0.5", "1"]
    ((_, marks),) = found.chart.lines
    told = ["η = 0: 0", "η = 0.5: 25 (10-40)", "η = 1: 50 (20-80)"]
    assert [Texts.of("en").say(found.chart.text(mark)) for mark in marks] == told
    assert Texts.of("zh-TW").say(found.chart.text(marks[1])) == "η = 0.5\uff1a25 (10-40)"
    assert (found.said[0].values["first"], found.said[0].values["last"]) == ("1", "1")
    assert [one.values["name"] for one in found.said[0].values["each"]] == ["η = 0", "η = 0.5"]


def test_what_eta_does_is_told_where_the_limits_show_it(small: SmallReport) -> None:
    parts = collect(small.all()).parts
    assert parts["etas"].said[0].key == "p2.eta_rises"
    added = {"0.5": interval(20, 2), "1": interval(1, 2)}
    changed(small.out / "eta_sheet/metrics.json", added_to_the_eta_below=added)
    trials = json.loads((small.out / "eta/metrics.json").read_text())["trials"]
    trials[1]["scores"]["repeated"] = interval(1.0, 0.0)
    trials[2]["scores"]["repeated"] = interval(0.98, 0.0)  # all but one
    changed(small.out / "eta/metrics.json", trials=trials)
    parts = collect(small.all()).parts
    to, *rest = parts["etas"].said
    assert (to.key, to.values["to"], rest) == ("p2.eta_rises_to", "0.5", [])
    told = Texts.of("en").say(to)
    assert told.startswith("Up to η = 0.5, the larger η") and "from there to η = 1 the" in told
    added = {"0.5": interval(1, 2), "1": interval(20, 2)}
    changed(small.out / "eta_sheet/metrics.json", added_to_the_eta_below=added)
    assert collect(small.all()).parts["etas"].said[0].key == "p2.eta_not_rises"
    said = parts["eta"].said[0]
    assert (said.key, said.values["exact"]) == ("p2.repeats_other", ("0", "0.5"))


def test_faces_distances_are_compared_in_pairs(small: SmallReport) -> None:
    path = small.out / "eta/metrics.json"
    (pair,) = json.loads(path.read_text())["differences"]
    changed(path, differences=[pair | interval(0.5, 0.6)])
    said = collect(small.all()).parts["eta"].said[-1]
    assert said.key == "p2.frechet_same"
    assert Texts.of("en").say(said).endswith("at η = 1, a difference of 0.5 (-0.1 … 1.1) in pairs.")
    changed(path, differences=[pair | interval(0.5, 0.4)])
    assert collect(small.all()).parts["eta"].said[-1].key == "p2.frechet_rises"


def test_lerp_is_compared_with_slerp(small: SmallReport) -> None:
    def kinds() -> list[str]:
        return [one.key for one in collect(small.all()).parts["interpolation"].said]

    path = small.out / "interpolation/metrics.json"
    assert kinds() == ["p2.norm_less", "p2.contrast_less", "p2.jump_more"]
    ways = json.loads(path.read_text())
    near = {key: 0.99 * value for key, value in ways["slerp"].items()}
    changed(path, lerp=near | {"norm_at_the_ends": 55.0, "contrast_at_the_middle": 60.0})
    assert kinds() == ["p2.norm_same", "p2.contrast_more", "p2.jump_same"]
    changed(path, lerp=near | {"norm_at_the_ends": 0.0})
    assert "ZeroDivisionError" in collect(small.all()).missing["interpolation"].error


def test_many_faces_stand_without_their_names(small: SmallReport) -> None:
    for count in (10, 11):
        for n in range(count):
            small.draw(small.out / f"faces/{n:02d}.png", 32)
        changed(small.out / "faces/metrics.json", pictures=count)
        given = collect(small.all()).parts["given"]
        assert given.grid.cols == (() if count == 11 else tuple(f"{n:02d}" for n in range(10)))
        assert (given.said[0].values["n"], given.said[0].values["of"]) == ("4", str(count))


def test_interpolated_faces_go_from_the_first_to_the_second(small: SmallReport) -> None:
    assert collect(small.all()).parts["interpolation"].grid.cols == (
        "0",
        "0.25",
        "0.5",
        "0.75",
        "1",
    )


def test_more_faces_are_shown_than_were_drawn_twice(small: SmallReport) -> None:
    path = small.out / "eta/metrics.json"
    trials = json.loads(path.read_text())["trials"]
    changed(path, trials=[trial | {"samples": 7} for trial in trials])
    for first in (small.out / "eta").rglob("chunk_000000.npz"):
        more = small.random.integers(0, 256, (5, 3, 32, 32), np.uint8)
        np.savez_compressed(first.with_name("chunk_000005.npz"), images=more)
    found = collect(small.all()).parts["eta"]
    for frame in found.frames:
        assert frame.grids[0].about.values["n"] == "7" and frame.grids[0].picture.height == 64
    assert found.said[0].values["n"] == "5"
    assert [one.title for one in found.charts] == ["score.distance", "score.frechet"]


def test_pictures_that_do_not_fit_together_are_told(small: SmallReport) -> None:
    small.draw(small.out / "samples/svhn/3_002.png", 32)
    for path in (small.out / "eta").rglob("chunk_000000.npz"):
        np.savez_compressed(path, images=np.zeros((5, 3, 32, 32)))
    told = collect(small.all()).missing
    assert "a grid of pictures of the sizes [(28, 28, 3), (32, 32, 3)]" in told["sheets"].error
    assert "has no pictures that can be read: delete it" in told["eta"].error


def test_scores_of_a_concept_are_each_in_its_column(small: SmallReport) -> None:
    for row in collect(small.all()).parts["concepts"].table.rows:
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


def test_scores_of_several_concepts_are_each_in_its_column(small: SmallReport) -> None:
    (one,) = collect(small.all()).parts["several"].prompts
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


def test_the_cell_that_is_shown_first_is_ringed(small: SmallReport) -> None:
    made = Elements(page(collect(small.all())))
    (ring,) = (rect for rect in made.all("rect") if rect["class"] == "ring")
    (cell,) = (rect for rect in made.all("rect") if rect.get("data-cell") == "1")
    assert "hidden" not in ring  # brick, of which one was taken for grass
    assert [float(ring[at] or 0) + 1.5 for at in "xy"] == [float(cell[at] or 0) for at in "xy"]


def test_cells_of_many_classes_fill_their_places(small: SmallReport) -> None:
    content = collect(small.all())
    clip = content.parts["clip"]
    for count in (3, 1000, 20_000):
        cells = ((0, 0, 1), (0, count - 1, 1))
        names = tuple(f"class {n}" for n in range(count))
        matrix = Matrix(names, cells, (2,) * count, {0: clip.matrix.examples[0]}, 0)
        many = {**content.parts, "clip": dataclasses.replace(clip, matrix=matrix)}
        made = Elements(page(dataclasses.replace(content, parts=many)))
        (ground,) = (rect for rect in made.all("rect") if rect["class"] == "ground")
        drawn = [rect for rect in made.all("rect") if (rect["class"] or "").startswith("hit")]
        share = [float(rect["width"] or 0) * count / float(ground["width"] or 0) for rect in drawn]
        assert len(share) == 2 and all(0.85 < one < 1.15 for one in share)
