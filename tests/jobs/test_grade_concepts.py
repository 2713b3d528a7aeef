"""jobs.grade_concepts: what it leaves, and that nothing is left of a refusal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hw2.lock import JOB_LOCK, only_writer
from hw2.personalize.grading import Embedder
from tests.clip.small import save_clip
from tests.jobs.command import Folder, rows
from tests.personalize.drawn_tree import WAYS, write_generated, write_input

SETTINGS = {"input": "ti/input.json", "generated": "gen", "pretrained": "clip", "out": "out"}


@pytest.fixture
def drawn(folder: Folder) -> Folder:
    write_input(folder.path / "ti")
    write_generated(folder.path / "gen")
    save_clip(folder.path / "clip/final.safetensors")
    return folder


def test_grades_come_from_the_scores_of_the_table(drawn: Folder) -> None:
    write_generated(drawn.path / "before", together=False, noise=150)
    ended = drawn.run_here("grade_concepts", SETTINGS | {"against": "before"})
    assert ended.code == 0
    out = drawn.path / "out"
    found = json.loads((out / "metrics.json").read_text())
    table = rows(out / "tables/pictures.csv")
    assert len(table) == 3 * 2 * 7
    for source, concept in found["concepts"].items():
        for place, prompt in enumerate(concept["prompts"]):
            own = [r for r in table if (r["source"], r["prompt"]) == (source, str(place))]
            image, before = (
                np.array([float(r[key]) for r in own]) for key in ("image", "image_against")
            )
            assert prompt["best_image"] == pytest.approx(image[prompt["best"]].mean())
            assert prompt["image_change"]["value"] == pytest.approx((image - before).mean())
            assert (prompt["passed"], prompt["pictures"]) == (place == 0, 7)
            with Image.open(out / f"figures/source{source}_prompt{place}.png") as figure:
                assert min(figure.size) > 200

    table = rows(out / "tables/pictures_together.csv")
    assert len(table) == len(WAYS) * 2 * 7
    assert list(found["together"][0]["differences_of_both"]) == [
        "joint - separate",
        "merged - separate",
        "merged - joint",
    ]
    assert "3 pass, 3 fail" in ended.out and "without which a prompt fails" not in ended.out
    sql = "SELECT value FROM latest_metrics WHERE key='eval/together/merged/prompt0/both'"
    assert drawn.query(sql) == [(found["together"][0]["ways"]["merged"]["both"]["value"],)]
    assert drawn.query("SELECT status FROM runs") == [("FINISHED",)]


def test_the_same_again_embeds_no_picture(drawn: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn.run_here("grade_concepts", SETTINGS).code == 0
    results = [drawn.path / "out" / name for name in ("metrics.json", "tables/pictures.csv")]
    before = [path.read_bytes() for path in results]
    monkeypatch.setattr(Embedder, "pictures", None)
    ended = drawn.run_here("grade_concepts", SETTINGS)
    assert ended.code == 0 and [path.read_bytes() for path in results] == before
    assert "scoring: 93/93 pictures" in ended.err


def test_prompts_that_fail_for_want_of_pictures_are_named(drawn: Folder) -> None:
    ended = drawn.run_here("grade_concepts", SETTINGS | {"num_pictures": 8})
    assert ended.code == 0 and "0 pass, 6 fail" in ended.out
    assert "of 8 pictures, without which a prompt fails: 0/0 has 7, 0/1 has 7, 1/0" in ended.out


def test_another_folder_to_compare_with_may_come_later(
    drawn: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, noise in (("before", 150), ("other", 20)):
        write_generated(drawn.path / name, together=False, noise=noise)
    assert drawn.run_here("grade_concepts", SETTINGS).code == 0
    embedded: list[Path] = []
    pictures = Embedder.pictures
    monkeypatch.setattr(
        Embedder,
        "pictures",
        lambda self, paths, of: embedded.extend(paths) or pictures(self, paths, of),
    )
    ended = drawn.run_here("grade_concepts", SETTINGS | {"against": "before"})
    assert ended.code == 0, ended.err
    assert len(embedded) == 3 * 7  # both prompts have the same pictures
    assert all("before" in path.parts for path in embedded)
    found = json.loads((drawn.path / "out/metrics.json").read_text())
    assert "image_change" in found["concepts"]["0"]["prompts"][0]
    told = drawn.run_here("grade_concepts", SETTINGS | {"against": "other"}).refusal()
    assert "results of other settings (another against)" in told
    write_generated(drawn.path / "gen", noise=20)
    assert "(another generated)" in drawn.run_here("grade_concepts", SETTINGS).refusal()


def test_pictures_that_are_still_drawn_are_not_graded(drawn: Folder) -> None:
    """Those that were there already got a grade, and the rest made the next call refuse it."""
    with only_writer(drawn.path / "gen", 0.0, JOB_LOCK):
        said = drawn.run_here("grade_concepts", SETTINGS).refusal()
    assert said == f"{SETTINGS['generated']}: a job is still at work there: wait for its end"
    assert not (drawn.path / "out").exists()


@pytest.mark.parametrize("when", ["check_texts", "pictures"])
def test_pictures_that_change_while_they_are_graded_get_no_grade(
    drawn: Folder, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Scores of others stood under the hash of the former, for which they were kept too."""
    before = getattr(Embedder, when)

    def changed(*args: Any) -> Any:
        write_generated(drawn.path / "gen", noise=150)
        return before(*args)

    with monkeypatch.context() as patched:
        patched.setattr(Embedder, when, changed)
        said = drawn.run_here("grade_concepts", SETTINGS).refusal()
    assert said.startswith("pictures changed while they were graded")
    assert not (drawn.path / "out/metrics.json").exists()
    write_generated(drawn.path / "gen")
    for out in ("out", "other"):
        assert drawn.run_here("grade_concepts", SETTINGS | {"out": out}).code == 0
    tables = [drawn.path / out / "tables/pictures.csv" for out in ("out", "other")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_a_refusal_leaves_nothing(drawn: Folder) -> None:
    input_file = drawn.path / "ti/input.json"
    content = json.loads(input_file.read_text())
    content["2"]["prompt_4_clip_eval"][1] = "a long way over the sea " * 3
    input_file.write_text(json.dumps(content))
    said = drawn.run_here("grade_concepts", SETTINGS).refusal()
    assert "prompt_4_clip_eval='a long way over" in said and "reads 12" in said
    write_input(drawn.path / "ti")
    (drawn.path / "gen/0/1/source0_prompt1_2.png").write_bytes(b"\x89PNG")
    said = drawn.run_here("grade_concepts", SETTINGS).refusal()
    assert "gen/0/1/source0_prompt1_2.png: " in said
    said = drawn.run_here("grade_concepts", SETTINGS | {"scaling.num_workers": "2"}).refusal()
    assert "scaling.num_workers=2 on the command line: want 0" in said
    assert not (drawn.path / "out").exists() and not (drawn.path / "mlflow.db").exists()


def test_only_pictures_from_the_same_noises_are_compared(drawn: Folder) -> None:
    write_generated(drawn.path / "before", together=False, noise=150)
    for name, seed in (("gen", 0), ("before", 1)):
        (drawn.path / name / "config.yaml").write_text(f"seed: {seed}\n")
    said = drawn.run_here("grade_concepts", SETTINGS | {"against": "before"}).refusal()
    assert "against=before: drawn with seed=1, gen with seed=0: " in said
    said = drawn.run_here("grade_concepts", SETTINGS | {"against": "gen"}).refusal()
    assert "against=gen: the folder itself" in said
    (drawn.path / "before/config.yaml").write_text("seed: 0\n")
    assert drawn.run_here("grade_concepts", SETTINGS | {"against": "before"}).code == 0


def test_the_command_says_what_it_needs(folder: Folder) -> None:
    said = folder.run_here("grade_concepts", {"out": "out"}).refusal()
    assert "generated" in said
    assert list(folder.path.iterdir()) == []


def test_one_concept_without_pictures_of_several(drawn: Folder) -> None:
    write_generated(drawn.path / "alone", count=2, together=False)
    settings = SETTINGS | {"generated": "alone", "sources": '["1"]'}
    ended = drawn.run_here("grade_concepts", settings)
    assert ended.code == 0
    found = json.loads((drawn.path / "out/metrics.json").read_text())
    assert [len(of["prompts"]) for of in found["concepts"].values()] == [0, 2, 0]
    assert found["together"] == []
    pictures = 3 * 3 + 2 * 2  # of the three concepts, and those drawn of one
    assert f"scoring: {pictures}/{pictures} pictures" in ended.err
