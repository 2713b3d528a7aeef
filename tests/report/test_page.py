"""The page from what the jobs left: all there, escaped, and honest about what is not."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from hw2.faces.report import eta_name, interpolation_names
from hw2.report.content import Content, collect
from hw2.report.parts import Missing
from hw2.report.pictures import read_tiles, tiles
from hw2.yaml_text import read_yaml
from tests.report.reading import Elements, changed, page
from tests.report.small_report import RUN, TOGETHER, SmallReport, interval


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_a_page_is_whole_and_needs_no_network(unchanged: Content, language: str) -> None:
    assert unchanged.missing == {}
    text = page(unchanged, language)
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
    for result in unchanged.results:
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
    unchanged: Content, language: str
) -> None:
    made = Elements(page(unchanged, language))
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


def test_names_from_files_stay_text(unchanged: Content) -> None:
    text = page(unchanged)
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


def test_letters_that_no_page_can_hold_are_a_missing_figure(small: SmallReport) -> None:
    """JSON and YAML may hold halves of surrogate pairs; the other steps stay on the page."""
    half = '"\\ud800"'
    for name, file in (("grades", "metrics.json"), ("samples", "config.yaml")):
        path = small.out / name / file
        known = json.loads(path.read_text()) if file == "metrics.json" else read_yaml(path)
        text = json.dumps(known | {"told": "HALF"}).replace('"HALF"', half)
        path.write_text(text)
    tag = {"kind": "tag", "time_ms": 1, "values": {"precision.auto": "HALF"}, "step": 0}
    line = json.dumps(tag).replace('"HALF"', half)
    (small.out / "faces" / "journal.jsonl").write_text(f"{line}\n")
    made = collect(small.all())
    assert set(made.missing) == {"grades", "sheets", "reverse", "given"}
    assert page(made).encode().count(b"holds half a surrogate pair") >= 3


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
    unchanged: Content,
) -> None:
    classes = [attrs.get("class") or "" for attrs in Elements(page(unchanged)).all("div")]
    grids = [set(words.split()) for words in classes if "grid" in words.split()]
    assert {"grid", "tall"} in grids  # ten digits by five noises
    assert {"grid"} in grids and {"grid", "wide"} in grids


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


def test_the_number_format_is_told_with_what_auto_was(small: SmallReport) -> None:
    tag = {"kind": "tag", "time_ms": 1, "values": {"precision.auto": "bf16"}, "step": 0}
    for name in ("samples", "faces"):
        (small.out / name / "journal.jsonl").write_text(json.dumps(tag) + "\n")
    parts = collect(small.all()).parts
    told = {name: dict(parts[name].source.settings)["precision"] for name in ("sheets", "given")}
    assert told == {"sheets": "auto (bf16)", "given": "fp32"}
    assert dict(parts["trained"].source.settings)["precision"] == "auto"  # on a cluster: not known


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
    unchanged: Content, language: str, told: tuple[str, ...]
) -> None:
    text = " ".join(Elements(page(unchanged, language)).text.split())
    assert all(words in text for words in told)


def test_a_caption_has_one_table(unchanged: Content) -> None:
    figures = re.findall(r"<figure.*?</figure>", page(unchanged), re.S)
    assert max(figure.count('<table class="sortable"') for figure in figures) == 1


def test_a_mean_stays_below_what_is_sorted_and_baselines_have_an_order(unchanged: Content) -> None:
    parts = unchanged.parts
    text = page(unchanged)
    (foot,) = re.findall(r"<tfoot>(.*?)</tfoot>", text, re.S)
    assert '<th scope="row">mean</th>' in foot and "MNIST-M" not in foot
    assert [row[6].order for row in parts["concepts"].table.rows] == [70, 70]


def test_what_scrolls_has_a_name(unchanged: Content) -> None:
    made = Elements(page(unchanged))
    boxes = [one for one in made.all("div") if one.get("class") == "scroll" and "tabindex" in one]
    names = [one.get("aria-label") for one in boxes]
    assert len(boxes) > 5 and len(set(names)) == len(names) and "Table 1" in names
    assert all(one.get("role") == "region" for one in boxes)


def test_a_figure_is_named_by_its_caption_without_settings_and_commands(unchanged: Content) -> None:
    text = page(unchanged)
    for figure in re.findall(r"<figure.*?</figure>", text, re.S):
        made = Elements(figure)
        (name,) = (one["aria-labelledby"] for one in made.all("figure"))
        assert [one.get("id") for one in made.all("p")].count(name) == 1
        tables = [one for one in made.all("table") if one.get("class") == "sortable"]
        assert all(table["aria-labelledby"] == name for table in tables)
    assert all({"aria-label", "aria-labelledby"} & set(one) for one in Elements(text).all("table"))


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


def test_pictures_that_do_not_fit_together_are_told(small: SmallReport) -> None:
    small.draw(small.out / "samples/svhn/3_002.png", 32)
    for path in (small.out / "eta").rglob("chunk_000000.npz"):
        np.savez_compressed(path, images=np.zeros((5, 3, 32, 32)))
    told = collect(small.all()).missing
    assert "a grid of pictures of the sizes [(28, 28, 3), (32, 32, 3)]" in told["sheets"].error
    assert "has no pictures that can be read: delete it" in told["eta"].error
