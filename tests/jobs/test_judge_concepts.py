"""jobs.judge_concepts: scores that are those of grade_concepts, what is missing or broken."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from hw2.personalize.grading import Embedder
from tests.clip.small import save_clip
from tests.jobs.command import Folder, rows
from tests.personalize.drawn_tree import SIDE, write_generated, write_input

SETTINGS = {"input": "ti/input.json", "pictures": "all", "pretrained": "clip", "out": "out"}


@pytest.fixture
def handed(folder: Folder) -> Folder:
    """Ann has seven of each prompt; of Bob's one is torn, and a folder is missing; Cy has a zip."""
    write_input(folder.path / "ti")
    save_clip(folder.path / "clip/final.safetensors")
    write_generated(folder.path / "all/ann", together=False)
    bob = write_generated(folder.path / "all/bob", together=False, noise=150)
    torn = bob / "0/0/source0_prompt0_2.png"
    torn.write_bytes(torn.read_bytes()[:60])
    shutil.rmtree(bob / "1/1")
    (bob / "2/0/notes.txt").touch()
    (folder.path / "all/cy.zip").touch()
    return folder


def test_scores_are_those_of_a_folder_of_ones_own(handed: Folder) -> None:
    ended = handed.run_here("judge_concepts", SETTINGS)
    assert ended.code == 0 and "judging: 85/85 files" in ended.err
    own = {"input": "ti/input.json", "generated": "all/ann", "pretrained": "clip", "out": "own"}
    assert handed.run_here("grade_concepts", own).code == 0
    graded = json.loads((handed.path / "own/metrics.json").read_text())["concepts"]
    judged = json.loads((handed.path / "out/metrics.json").read_text())["students"]["ann"]
    assert [*judged] == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]
    for place, found in judged.items():
        source, prompt = place.split("/")
        same = graded[source]["prompts"][int(prompt)]
        names = [f"source{source}_prompt{prompt}_{n}.png" for n in same["best"]]
        assert found["best"] == names and found["passed"] == same["passed"] == (prompt == "0")
        for key in ("best_image", "best_text"):
            assert found[key] == pytest.approx(same[key], abs=1e-4)
        for kind in ("image", "text"):
            assert found[kind] == pytest.approx(same[kind], abs=1e-4)
    of_one = {
        (row["source"], row["prompt"], row["n"]): float(row["image"])
        for row in rows(handed.path / "own/tables/pictures.csv")
    }
    table = [r for r in rows(handed.path / "out/tables/pictures.csv") if r["student"] == "ann"]
    assert len(table) == len(of_one) == 42
    for row in table:
        source, prompt = row["folder"].split("/")
        number = row["file"].removesuffix(".png").rpartition("_")[2]
        assert float(row["image"]) == pytest.approx(of_one[source, prompt, number], abs=1e-4)
        assert float(row["image"]) <= float(row["nearest"]) <= 100 + 1e-4
    key = "eval/source0/prompt0/ann/best_image"
    sql = f"SELECT value FROM latest_metrics WHERE key='{key}'"
    assert handed.query(sql) == [(judged["0/0"]["best_image"],)]


def test_what_is_missing_or_broken_is_told(handed: Folder) -> None:
    ended = handed.run_here("judge_concepts", SETTINGS | {"num_pictures": 7})
    assert ended.code == 0
    table = {
        (row["student"], row["source"], row["prompt"]): row
        for row in rows(handed.path / "out/tables/students.csv")
    }
    assert len(table) == 3 * 6
    counted = {
        key: tuple(int(row[c]) for c in ("pictures", "unreadable", "missing", "not_counted"))
        for key, row in table.items()
    }
    assert counted["ann", "0", "0"] == (7, 0, 0, 0)
    assert counted["bob", "0", "0"] == (7, 1, 0, 0)
    assert counted["bob", "1", "1"] == (0, 0, 7, 0)
    assert counted["bob", "2", "0"] == (7, 0, 0, 1)
    assert counted["cy.zip", "2", "1"] == (0, 0, 7, 0)
    passed = {key for key, row in table.items() if row["verdict"] == "pass"}
    assert passed == {("ann", "0", "0"), ("ann", "1", "0"), ("ann", "2", "0"),
                      ("bob", "1", "0"), ("bob", "2", "0")}  # fmt: skip
    assert table["bob", "1", "1"]["best_image"] == "" == table["bob", "1", "1"]["image_value"]
    bad = {
        (r["student"], r["folder"], r["file"]): r["reason"]
        for r in rows(handed.path / "out/tables/bad_pictures.csv")
    }
    assert bad["bob", "0/0", "source0_prompt0_2.png"].startswith("broken picture (")
    assert bad["bob", "1/1", ""] == "no folder 1/1; found 1/0/"
    assert bad["bob", "2/0", "notes.txt"].startswith("not a picture's suffix")
    assert bad["cy.zip", "0/0", ""] == "it is an archive: unpack it"
    assert f"{len(bad)} files with reasons" in ended.out
    assert "bob: nothing of 1/1 is judged: no folder 1/1; found 1/0/\n" in ended.err
    assert "a prompt with fewer than 7 pictures that can be read fails" in ended.out
    assert "3 of 6" in ended.out and "2 of 6" in ended.out and "0 of 6" in ended.out
    assert handed.query("SELECT value FROM latest_metrics WHERE key='eval/prompts_passed/bob'") == [
        (2.0,)
    ]
    with Image.open(handed.path / "out/figures/source1_prompt1.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
        # Bob and Cy have ten cells without a picture, of which all is grey.
        assert (pixels == 128).all(1).sum() >= 10 * 64 * 64


def test_copies_are_told(handed: Folder) -> None:
    ann, bob = handed.path / "all/ann", handed.path / "all/bob"
    with Image.open(handed.path / "ti/0/1.jpg") as taken:
        taken.save(ann / "0/0/source0_prompt0_3.png")
    shutil.copy(ann / "2/1/source2_prompt1_0.png", bob / "2/1/source2_prompt1_0.png")
    with Image.open(handed.path / "ti/1/0.jpg") as taken:  # as of a camera that was turned
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        taken.transpose(Image.Transpose.ROTATE_90).save(
            ann / "1/1/source1_prompt1_3.png", exif=exif
        )
    assert handed.run_here("judge_concepts", SETTINGS).code == 0
    table = {
        (row["student"], row["source"], row["prompt"]): row
        for row in rows(handed.path / "out/tables/students.csv")
    }
    assert (table["ann", "0", "0"]["copied"], table["ann", "0", "0"]["shared"]) == ("1", "0")
    assert float(table["ann", "0", "0"]["nearest"]) == pytest.approx(100, abs=1e-3)
    assert table["ann", "1", "1"]["copied"] == "1"
    nearest = {
        (row["folder"], row["file"]): float(row["nearest"])
        for row in rows(handed.path / "out/tables/pictures.csv")
        if row["student"] == "ann" and row["nearest"]
    }
    assert nearest["1/1", "source1_prompt1_3.png"] == pytest.approx(100, abs=1e-3)
    assert table["ann", "2", "1"]["shared"] == table["bob", "2", "1"]["shared"]
    assert int(table["bob", "2", "1"]["shared"]) == 1
    equal = {
        (r["student"], r["folder"], r["file"]): r["equal_to"]
        for r in rows(handed.path / "out/tables/pictures.csv")
        if r["equal_to"]
    }
    assert equal["ann", "0/0", "source0_prompt0_3.png"].endswith("ti/0/1.jpg")
    assert equal["bob", "2/1", "source2_prompt1_0.png"] == "ann/2/0/source2_prompt0_0.png"


def test_the_same_again_embeds_no_students_picture(
    handed: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert handed.run_here("judge_concepts", SETTINGS).code == 0
    before = (handed.path / "out/tables/pictures.csv").read_bytes()
    seen: list[int] = []
    prepared = Embedder.prepared
    monkeypatch.setattr(
        Embedder, "prepared", lambda self, some: seen.append(len(some)) or prepared(self, some)
    )
    assert handed.run_here("judge_concepts", SETTINGS).code == 0
    assert seen == [3, 3, 3]  # the concepts' own
    assert (handed.path / "out/tables/pictures.csv").read_bytes() == before
    fewer = handed.run_here("judge_concepts", SETTINGS | {"num_pictures": 6})
    assert fewer.code == 0 and seen == 2 * [3, 3, 3]
    reasons = [r["reason"] for r in rows(handed.path / "out/tables/bad_pictures.csv")]
    assert reasons.count("more than the 6 asked for") == 6 + 5
    seen.clear()
    (handed.path / "all/ann/0/0/source0_prompt0_0.png").unlink()  # hands in once more
    assert handed.run_here("judge_concepts", SETTINGS).code == 0
    files = [r for r in rows(handed.path / "out/tables/pictures.csv") if r["student"] == "ann"]
    of_ann = sum(not r["reason"].startswith("broken") for r in files)
    assert seen[:3] == [3, 3, 3] and sum(seen[3:]) == of_ann  # nobody else's


def test_names_of_any_kind_count_in_the_order_of_their_numbers(handed: Folder) -> None:
    place = handed.path / "all/ann/0/0"
    for number in range(7):
        (place / f"source0_prompt0_{number}.png").rename(place / f"{number + 5}.PNG")
    (place / "last.png").write_bytes((place / "5.PNG").read_bytes())
    one = SETTINGS | {"pictures": "all/ann", "sources": "0", "num_pictures": 6}
    assert handed.run_here("judge_concepts", one).code == 0
    table = rows(handed.path / "out/tables/pictures.csv")
    files = [(r["file"], r["reason"]) for r in table if r["folder"] == "0/0"]
    assert files[:6] == [(f"{n}.PNG", "") for n in range(5, 11)]
    assert files[6] == ("11.PNG", "more than the 6 asked for")
    want = "want source{source}_prompt{prompt}_{0..}.png"
    assert files[7] == ("last.png", f"its name ends in no number: {want}")
    assert {row["folder"] for row in table} == {"0/0", "0/1"}


def test_a_refusal_leaves_nothing(handed: Folder) -> None:
    def told(**settings: object) -> str:
        return handed.run_here("judge_concepts", SETTINGS | settings).refusal()

    assert "pictures=none: no such folder: want a student's folder with 0/0/" in told(
        pictures="none"
    )
    assert "pictures=clip: want a student's folder" in told(pictures="clip")
    assert "source=7: no such concept; there is 0, 1, 2" in told(sources="7")
    assert "no picture counts (" in told(pictures="all/cy.zip")
    assert "scaling.num_workers=2 on the command line: want 0" in told(**{"scaling.num_workers": 2})
    assert not (handed.path / "out").exists() and not (handed.path / "mlflow.db").exists()


def test_a_strip_that_the_model_cannot_take_is_unreadable(handed: Folder) -> None:
    strip = handed.path / "all/ann/0/0/source0_prompt0_0.png"
    Image.new("RGB", (2_000_000, 1)).save(strip)
    assert handed.run_here("judge_concepts", SETTINGS | {"pictures": "all/ann"}).code == 0
    (row,) = rows(handed.path / "out/tables/bad_pictures.csv")
    assert row["file"] == strip.name and "2000000x1 would become" in row["reason"]


def test_a_picture_that_goes_before_the_sheet_is_grey(
    handed: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hw2.personalize import student_report

    flat = student_report.flat

    def lost(graded: student_report.Graded) -> dict[str, object]:
        shutil.rmtree(handed.path / "all/ann/0/0")
        return flat(graded)  # type: ignore[return-value]

    monkeypatch.setattr(student_report, "flat", lost)
    ended = handed.run_here("judge_concepts", SETTINGS)
    assert ended.code == 0
    with Image.open(handed.path / "out/figures/source0_prompt0.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
        assert (pixels == 128).all(1).sum() >= 10 * 64 * 64
    assert SIDE < 64
    assert Path(handed.path / "out/tables/students.csv").exists()


def test_readings_go_with_the_concepts_and_the_model(handed: Folder) -> None:
    def told(**settings: object) -> str:
        return handed.run_here("judge_concepts", one | settings).refusal()

    one = SETTINGS | {"pictures": "all/ann", "sources": "0"}
    assert handed.run_here("judge_concepts", one).code == 0
    shutil.copytree(handed.path / "ti", handed.path / "moved")
    moved = one | {"input": "moved/input.json"}
    assert handed.run_here("judge_concepts", moved).code == 0
    text = (handed.path / "ti/input.json").read_text()
    for name, new in {
        "ti/long": text.replace("a photo of a dog.", "dog " * 99),
        "ti/input": text + " ",
    }.items():
        (handed.path / f"{name}.json").write_text(new)
    assert " tokens with start and end, and " in told(input="ti/long.json", out="long")
    assert "(another input)" in told()
    (handed.path / "ti/input.json").write_text(text)
    (handed.path / "ti/0/1.jpg").write_bytes((handed.path / "ti/0/2.jpg").read_bytes())
    assert "(other sources)" in told()
    save_clip(handed.path / "clip/final.safetensors", seed=4)
    assert "(other weights)" in told(input="moved/input.json")
