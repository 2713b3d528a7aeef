"""What is told of concepts' pictures that students handed in, of readings that are written here."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data.concepts import Concept
from hw2.data.handed_in.files import HandedFile, Student
from hw2.data.handed_in.readings import Reading, picture_sum
from hw2.data.images import decode_bytes
from hw2.errors import DataError
from hw2.figures.handed_sheets import HandedRow
from hw2.metrics.intervals import bootstrap
from hw2.personalize import student_report
from hw2.personalize.student_grades import ConceptReader, grade_student_prompt, source_sums
from hw2.personalize.student_report import (
    Graded,
    flat,
    picture_rows,
    report_concept_students,
)
from hw2.personalize.students import find_concept_students
from hw2.runlog.tracker import Tracker
from hw2.settings.grading import JudgeConceptsConfig

BASELINES = ((50.0, 10.0), (40.0, 20.0))
Sheets = dict[str, tuple[HandedRow, list[HandedRow], str]]


@pytest.fixture
def concept(tmp_path: Path) -> Concept:
    """Two pictures; the second is stored on its side."""
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    paths = tmp_path / "given0.png", tmp_path / "given1.png"
    Image.fromarray(pixels[0]).save(paths[0])
    Image.fromarray(pixels[1]).save(paths[1], exif=exif)
    prompts = ("a photo of a <new1>", "a <new1> by the sea")
    return Concept("dog!", paths, "<new1>", prompts, prompts, BASELINES)


def read(image: float, text: float, nearest: float, size: str = "8x8", sum: str = "") -> Reading:
    return Reading(size, [image, text, nearest], None, sum)


def handed(folder: Path, place: str, count: int) -> list[HandedFile]:
    """`count` files in a place, each of one colour, that count."""
    (folder / place).mkdir(parents=True)
    files = []
    for n in range(count):
        path = folder / place / f"{n}.png"
        Image.new("RGB", (96, 96), (10 * n + 1, int(place[-1]), 0)).save(path)
        files.append(HandedFile(place, path.name, path.stat().st_size, int(place[-1]), None))
    return files


class Told:
    """What report_concept_students leaves, with the rows of the sheets in place of pictures."""

    def __init__(self, out: Path, sheets: Sheets, printed: str) -> None:
        self.sheets, self.printed = sheets, printed
        self.json = json.loads((out / "metrics.json").read_text())
        self.tables = {}
        for name in ("students", "pictures", "bad_pictures"):
            if (path := out / "tables" / f"{name}.csv").exists():
                with path.open(newline="", encoding="utf-8-sig") as file:
                    self.tables[name] = list(csv.DictReader(file))


@pytest.fixture
def told(
    concept: Concept,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Told:
    """Ann has six of prompt 0, and of prompt 1 two, one of them torn; Bob one of each, one torn."""
    sheets: Sheets = {}

    def drawn(
        name: str, given: HandedRow, rows: Sequence[HandedRow], columns: object, title: str
    ) -> Iterator[tuple[str, Image.Image]]:
        sheets[name] = given, list(rows), title
        yield name, Image.new("RGB", (8, 8))

    monkeypatch.setattr(student_report, "handed_sheets", drawn)
    ann, bob = tmp_path / "ann", tmp_path / "bob"
    students = [
        Student("ann", ann, (*handed(ann, "dog!/0", 6), *handed(ann, "dog!/1", 2))),
        Student("bob", bob, (*handed(bob, "dog!/0", 1), *handed(bob, "dog!/1", 1))),
    ]
    turned, exif = bob / "dog!/1/0.png", Image.Exif()
    exif[274] = 6
    Image.new("RGB", (96, 32)).save(turned, exif=exif)
    files = [*students[1].files[:1], replace(students[1].files[1], size=turned.stat().st_size)]
    students[1] = replace(students[1], files=tuple(files))
    images = (55.0, 65.0, 5.0, 60.0, 61.0, 62.0)
    readings = [
        [
            *(read(image, 12.0 + n / 4, 99.0 if n == 2 else 80.0 + n, sum=f"a{n}")
              for n, image in enumerate(images)),
            read(41.0, 19.0, 70.0, "9x8", sum="a1"),
            Reading("", None, "broken\x1b", ""),
        ],
        [Reading("", None, "torn", ""), read(90.0, 21.0, 95.0, sum="a1")],
    ]  # fmt: skip
    config = JudgeConceptsConfig(pictures=(tmp_path,), out=tmp_path / "out", seed=5)
    (tmp_path / "out").mkdir()
    with Tracker(tmp_path / "out", "run", None, owner=False) as tracker:
        report_concept_students(students, readings, {"dog!": concept}, "CLIP X", config, tracker)
    return Told(tmp_path / "out", sheets, capsys.readouterr().out)


def test_a_row_a_prompt_has_its_figures(told: Told) -> None:
    rows = {(row["student"], row["prompt"]): row for row in told.tables["students"]}
    ann = rows["ann", "0"]
    of_best = [55.0, 65.0, 60.0, 61.0, 62.0]
    assert float(ann["best_image"]) == pytest.approx(np.mean(of_best))
    assert float(ann["best_text"]) == pytest.approx(np.mean([12, 12.25, 12.75, 13, 13.25]))
    assert float(ann["nearest"]) == 85.0  # 99 is none of the best
    assert (ann["source"], ann["verdict"], ann["pictures"]) == ("dog!", "pass", "6")
    assert (float(ann["baseline_image"]), float(ann["baseline_text"])) == (50, 10)
    every = torch.tensor([55, 65, 5, 60, 61, 62], dtype=torch.float64)
    text = 12 + torch.arange(6, dtype=torch.float64) / 4
    for kind, scores in (("image", every), ("text", text)):
        limits = vars(bootstrap(scores, 5)).values()
        assert [float(ann[f"{kind}_{end}"]) for end in ("value", "low", "high")] == [*limits]
    assert (rows["ann", "1"]["unreadable"], rows["ann", "1"]["verdict"]) == ("1", "FAIL")
    assert (rows["ann", "0"]["shared"], rows["bob", "1"]["shared"]) == ("1", "1")
    torn = rows["bob", "0"]
    assert (torn["pictures"], torn["unreadable"], torn["best_text"], torn["nearest"]) == (
        "1", "1", "", "",
    )  # fmt: skip
    assert torn["text_value"] == torn["image_high"] == ""


def test_a_row_a_picture_has_its_figures(told: Told) -> None:
    rows = told.tables["pictures"]
    assert [row["best"] for row in rows] == ["5", "1", "", "4", "3", "2", "1", "", "", "1"]
    assert [row["size"] for row in rows] == ["8x8"] * 6 + ["9x8", "", "", "8x8"]
    first = [float(rows[0][key]) for key in ("image", "text", "nearest")]
    assert first == [55, 12, 80]
    assert rows[7]["image"] == rows[7]["nearest"] == ""
    equal = {n: row["equal_to"] for n, row in enumerate(rows) if row["equal_to"]}
    assert equal == {6: "ann/dog!/0/1.png", 9: "ann/dog!/0/1.png"}
    assert [row["reason"] for row in told.tables["bad_pictures"]] == ["broken\\x1b", "torn"]


def test_the_terminal_has_a_row_a_student(told: Told) -> None:
    lines = ([cell.strip() for cell in line.split("│")] for line in told.printed.splitlines())
    ann, bob = (cells[1:-1] for cells in lines if cells[1:2] in (["ann"], ["bob"]))
    assert "dog!/0 (50, 10)" in told.printed and "dog!/1 (40, 20)" in told.printed
    assert ann == ["ann", "60.6, 12.7, pass", "41.0, 19.0, FAIL", "1 of 2", "1", "0", "2", "0"]
    assert bob == ["bob", "none, FAIL", "90.0, 21.0, pass", "1 of 2", "1", "0", "1", "0"]
    assert "what they are to reach; CLIP X\n" in told.printed
    assert "2 files with reasons" in told.printed


def test_metrics_json_and_mlflow_have_the_figures(told: Told) -> None:
    assert told.json["clip"] == "CLIP X"
    ann = told.json["students"]["ann"]["dog!/0"]
    assert ann["best"] == ["1.png", "5.png", "4.png", "3.png", "0.png"]
    assert ann["passed"] is True and told.json["students"]["ann"]["dog!/1"]["passed"] is False
    assert (ann["image"]["value"], ann["text"]["value"]) == (pytest.approx(308 / 6), 12.625)
    assert told.json["students"]["bob"]["dog!/0"]["text"] is None


def test_sheets_have_the_best_of_each_prompt(told: Told, concept: Concept) -> None:
    assert [*told.sheets] == ["sourcedog!_prompt0", "sourcedog!_prompt1"]
    given, (ann, bob), title = told.sheets["sourcedog!_prompt0"]
    assert title.startswith("a photo of a <new1>:") and given.name == "pictures of <new1>"
    shapes = [(thumb != 128).any(2) for thumb in given.thumbs if thumb is not None]
    assert [(s.any(0).sum(), s.any(1).sum()) for s in shapes] == [(96, 64), (64, 96)]  # upright
    assert ann.name == "ann, pass" and bob.name == "bob, FAIL"
    assert [thumb[0, 0, 0] for thumb in ann.thumbs if thumb is not None] == [11, 51, 41, 31, 1]
    assert ann.notes[0] == "65.0, 12.2" and len(ann.notes) == 5
    assert not bob.thumbs and not bob.notes
    _, (ann, bob), _ = told.sheets["sourcedog!_prompt1"]
    assert bob.thumbs[0] is not None and (bob.thumbs[0] != 128).any(2).sum(1).max() == 32
    assert [*ann.notes, *bob.notes] == ["41.0, 19.0", "90.0, 21.0"]


def test_a_row_names_a_file_plainly_and_what_it_is_a_copy_of(tmp_path: Path) -> None:
    file = HandedFile("dog!/0", "1\x1b.png", 1, None, "more than the 0\x1b asked for")
    student = Student("ann", tmp_path, (file,))
    (row,) = picture_rows([student], [[read(1.0, 2.0, 3.0, sum="a")]], {"ann": {}}, {"a": "real"})
    assert (row["file"], row["equal_to"]) == ("1\\x1b.png", "real")
    assert row["reason"] == "more than the 0\\x1b asked for"


def test_metrics_have_names_that_mlflow_takes() -> None:
    file = HandedFile("dog!/0", "0.png", 1, 0, None)
    passing = grade_student_prompt("dog!/0", (1, 1), [(file, read(3.0, 2.0, 4.0))], 0)
    failing = grade_student_prompt("dog!/1", (1, 1), [], 0)
    graded: Graded = {
        "ann": {("dog!", 0): passing, ("dog!", 1): failing},
        "bob": {("dog!", 0): passing},
    }
    assert flat(graded) == {
        "eval/students": 2,
        "eval/students_passed": 1,
        "eval/prompts_passed/ann": 1,
        "eval/sourcedog_/prompt0/ann/best_image": 3.0,
        "eval/sourcedog_/prompt0/ann/best_text": 2.0,
        "eval/prompts_passed/bob": 1,
        "eval/sourcedog_/prompt0/bob/best_image": 3.0,
        "eval/sourcedog_/prompt0/bob/best_text": 2.0,
    }


def test_readings_are_three_scores() -> None:
    sound = ConceptReader.sound
    assert sound(None, [1.0, 2.0, 3.0])  # type: ignore[arg-type]
    for said in ([1.0, 2.0], [1.0, 2.0, True], [1.0, 2.0, None], "abc", 3, None):
        assert not sound(None, said)  # type: ignore[arg-type]


def test_a_photograph_of_a_concept_is_a_copy_in_any_orientation(concept: Concept) -> None:
    known = source_sums({"dog!": concept})
    for path in concept.pictures:
        pixels = decode_bytes(path.read_bytes(), upright=ConceptReader.upright)
        assert known[picture_sum(pixels)] == str(path)
    turned = decode_bytes(concept.pictures[1].read_bytes(), upright=True)
    assert turned.shape == (12, 8, 3)


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_folder_is_told(
    what: str, concept: Concept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = tmp_path / "all/ann"
    handed(ann, "dog!/0", 1)
    if what == "file":
        (ann / "dog!/1").touch()
    else:
        (ann / "dog!/1").symlink_to(tmp_path)
    config = JudgeConceptsConfig(pictures=(tmp_path / "all",), out=tmp_path / "out")
    (student,) = find_concept_students(config, {"dog!": concept})
    reason = "dog!/1 is a file or a link, not a folder"
    assert [(file.file, file.reason) for file in student.files] == [("0.png", None), ("", reason)]
    assert capsys.readouterr().err.endswith(f"ann: nothing of dog!/1 is judged: {reason}\n")


def test_places_that_lack_for_the_same_reason_are_told_once(
    concept: Concept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handed(tmp_path / "all/ann", "dog!/0", 1)
    (tmp_path / "all/bob").mkdir()
    config = JudgeConceptsConfig(pictures=(tmp_path / "all",), out=tmp_path / "out")
    _, bob = find_concept_students(config, {"dog!": concept})
    assert [file.place for file in bob.files] == ["dog!/0", "dog!/1"]
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {tmp_path}/all/ann: nothing of dog!/1 is judged: no folder dog!/1; "
        "found dog!/0/",
        f"warning: {tmp_path}/all/bob: nothing of dog!/0, dog!/1 is judged: no folder dog!; "
        "found nothing",
    ]


def test_a_file_of_a_concepts_name_makes_no_students_folder(
    concept: Concept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handed(tmp_path / "all/ann", "dog!/0", 1)
    (tmp_path / "all/dog!").touch()
    config = JudgeConceptsConfig(pictures=(tmp_path / "all",), out=tmp_path / "out")
    (student,) = find_concept_students(config, {"dog!": concept})
    assert student.name == "ann" and "passed over: dog!\n" in capsys.readouterr().err
    with pytest.raises(DataError, match="a student's folder with cat/0/sourcecat_prompt0_0"):
        find_concept_students(config, {"cat": concept})


def test_the_number_stands_before_the_suffix(concept: Concept, tmp_path: Path) -> None:
    ann = tmp_path / "ann/dog!/0"
    ann.mkdir(parents=True)
    for name in ("1.png", "v1.0 new.png", "1.png.png"):
        (ann / name).write_bytes(b"x")
    config = JudgeConceptsConfig(pictures=(tmp_path / "ann",), out=tmp_path / "out")
    (student,) = find_concept_students(config, {"dog!": concept})
    assert [f.file for f in student.files if f.label is not None] == ["1.png"]


def test_what_is_there_torn_missing_and_over_is_counted() -> None:
    """Five were asked for; four are there, one of them torn, and two do not count."""
    four = [HandedFile("dog!/0", f"{n}.png", 1, 0, None) for n in range(4)]
    over = HandedFile("dog!/0", "9.png", 1, None, "more than the 4 asked for")
    note = HandedFile("dog!/0", "notes.txt", 1, None, "not a picture's suffix")
    gone = HandedFile("dog!/1", "", -1, None, "no folder dog!/1; found dog!/0")
    scores = [read(1.0, 30.0, 2.0, sum="a"), read(2.5, 7.0, 3.0, sum="b")]
    readings = [*scores, scores[0], Reading("", None, "torn")]
    pairs = [*zip(four, readings, strict=True), (over, scores[1])]
    pairs += [(file, Reading("", None, file.reason)) for file in (note, gone)]
    low, seed = (1.0, 1.0), 3
    of = grade_student_prompt("dog!/0", low, pairs, seed, 5, {"a"}, {"b"})
    assert of.counts == {
        "pictures": 4,
        "unreadable": 1,
        "missing": 1,
        "not_counted": 2,
        "repeated": 1,
        "shared": 2,
        "copied": 1,
    }
    assert of.files == tuple(four[:3]) and not of.passed
    assert not grade_student_prompt("dog!/0", low, pairs, seed, 4).passed  # one of four is torn
    assert grade_student_prompt("dog!/0", low, pairs, seed, 3).passed
    nothing = grade_student_prompt("dog!/1", low, pairs, seed, 5)
    assert (nothing.counts["missing"], nothing.counts["not_counted"]) == (5, 0)
    assert nothing.grade is None and not nothing.best and not nothing.passed


def test_limits_go_with_the_seed() -> None:
    files = [HandedFile("dog!/0", f"{n}.png", 1, 0, None) for n in range(40)]
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3)))
    pairs = [(file, read(*row)) for file, row in zip(files, scores.tolist(), strict=True)]
    grade = grade_student_prompt("dog!/0", (0, 0), pairs, 3).grade
    assert grade is not None and grade.image == bootstrap(scores[:, 0], 3)
    assert grade.text == bootstrap(scores[:, 1], 3) != bootstrap(scores[:, 1], 0)


def test_of_good_files_alone_no_reasons_are_told(
    concept: Concept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = tmp_path / "ann"
    students = [Student("ann", ann, (*handed(ann, "dog!/0", 5), *handed(ann, "dog!/1", 5)))]
    config = JudgeConceptsConfig(pictures=(ann,), out=tmp_path / "out", num_pictures=4)
    (tmp_path / "out").mkdir()
    for asked in (4, None):
        config = config.model_copy(update={"num_pictures": asked})
        with Tracker(tmp_path / "out", "run", None, owner=False) as tracker:
            readings = [[read(60.0, 30.0, 70.0)] * 10]
            report_concept_students(students, readings, {"dog!": concept}, "X", config, tracker)
        told = capsys.readouterr().out
        assert ("2 files with reasons" in told) == ("fewer than 4" in told) == (asked == 4)
        assert ("with reasons" in told) == (asked == 4) and "│ 2 of 2 │" in told
    with (tmp_path / "out/tables/bad_pictures.csv").open(newline="") as file:
        assert not list(csv.DictReader(file))
