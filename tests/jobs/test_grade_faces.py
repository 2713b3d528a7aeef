"""jobs.grade_faces: errors that follow from the pictures, what is missing or broken, refusals."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hw2.faces import student_report
from hw2.figures.handed_sheets import HandedRow
from hw2.lock import JOB_LOCK, only_writer
from tests.jobs.command import Folder, rows

NAMES = ("00", "01", "02")
SIDE = 8


def write(folder: Path, seed: int = 0, off: int = 0, suffix: str = ".png") -> None:
    """Three pictures, `off` away from those of `seed` in each channel."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for name in NAMES:
        pixels = random.integers(0, 200, (SIDE, SIDE, 3)) + off
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{suffix}")


@pytest.fixture
def handed(folder: Folder) -> Folder:
    """Ann's are right, Bob's 4 away; Cy has a torn, a large and a linked one; Dee's lie deeper."""
    write(folder.path / "gt")
    write(folder.path / "all/ann")
    write(folder.path / "all/bob", off=4, suffix=".bmp")
    write(folder.path / "all/cy")
    cy = folder.path / "all/cy"
    (cy / "00.png").write_bytes((cy / "00.png").read_bytes()[:60])
    Image.new("RGB", (10, 20)).save(cy / "01.png")
    (cy / "02.png").unlink()
    (cy / "02.png").symlink_to(folder.path / "gt/02.png")
    write(folder.path / "all/dee/output")
    (folder.path / "all/eve.zip").touch()
    return folder


SETTINGS = {"pictures": "all", "gt": "gt", "out": "out"}


def test_pictures_that_are_still_drawn_are_not_graded(handed: Folder) -> None:
    with only_writer(handed.path / "all/bob", 0.0, JOB_LOCK):
        said = handed.run_here("grade_faces", SETTINGS).refusal()
    assert said == "all/bob: a job is still at work there: wait for its end"
    assert not (handed.path / "out").exists()
    (handed.path / "all/bob" / JOB_LOCK).unlink()
    os.mkfifo(handed.path / "all/bob" / JOB_LOCK)  # nobody's: it is not waited for
    assert handed.run_here("grade_faces", SETTINGS).code == 0


def test_errors_follow_from_the_pictures(handed: Folder) -> None:
    ended = handed.run_here("grade_faces", SETTINGS)
    assert ended.code == 0 and "comparing: 15/15 pictures" in ended.err
    out = handed.path / "out"
    students = {row["student"]: row for row in rows(out / "tables/students.csv")}
    assert [*students] == ["ann", "bob", "cy", "dee", "eve.zip"]
    found = {
        name: [row[key] for key in ("below_pass_mark", "mse", "missing", "unusable", "verdict")]
        for name, row in students.items()
    }
    assert found == {
        "ann": ["3", "0.0", "0", "0", "pass"],
        "bob": ["3", "16.0", "0", "0", "pass"],
        "cy": ["0", "", "0", "3", "FAIL"],
        "dee": ["0", "", "3", "0", "FAIL"],
        "eve.zip": ["0", "", "3", "0", "FAIL"],
    }
    table = rows(out / "tables/pictures.csv")
    assert [row["file"] for row in table if row["student"] == "bob"] == [
        "00.bmp",
        "01.bmp",
        "02.bmp",
    ]
    reasons = [row["reason"] for row in table if row["student"] == "cy"]
    assert reasons[0].startswith("broken picture (")
    assert reasons[1:] == ["it is 10x20, the given one 8x8", "it leaves the folder by a link"]
    assert rows(out / "tables/bad_pictures.csv") == [row for row in table if row["reason"]]
    assert "warning: all/dee: holds none of the pictures; found output/" in ended.err
    assert "eve.zip: it is an archive: unpack it" in ended.err
    assert "pass: each of 3 pictures has an MSE below 20 (0..255)" in ended.out
    assert json.loads((out / "metrics.json").read_text())["students"]["bob"]["mse"] == 16.0
    with Image.open(out / "figures/students.png") as sheet:
        assert sheet.height > 6 * 64  # the given ones, and five students


def test_another_mark_and_late_pictures_are_graded_in_the_same_out(handed: Folder) -> None:
    assert handed.run_here("grade_faces", SETTINGS).code == 0
    harder = handed.run_here("grade_faces", SETTINGS | {"pass_mark": 15})
    assert harder.code == 0
    students = rows(handed.path / "out/tables/students.csv")
    assert [row["verdict"] for row in students[:2]] == ["pass", "FAIL"]
    (handed.path / "all/ann/00.png").unlink()
    assert handed.run_here("grade_faces", SETTINGS).code == 0
    ann = rows(handed.path / "out/tables/students.csv")[0]
    assert (ann["verdict"], ann["missing"]) == ("FAIL", "1")


def test_one_folder_is_one_student(handed: Folder) -> None:
    ended = handed.run_here("grade_faces", SETTINGS | {"pictures": "all/ann,all/dee/output"})
    assert ended.code == 0
    students = rows(handed.path / "out/tables/students.csv")
    assert [(row["student"], row["verdict"]) for row in students] == [
        ("ann", "pass"),
        ("output", "pass"),
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gt": "none"}, "gt=none: no such folder, or no .png in it: give the course's GT"),
        ({"gt": "all"}, "gt=all: no such folder, or no .png in it: give the course's GT"),
        (
            {"pictures": "none"},
            "pictures=none: no such folder: want a student's folder with 00.png",
        ),
        ({"pictures": "all/dee/output/.."}, None),
        ({"pictures": "empty"}, "pictures=empty: want a student's folder with 00.png, 01.png.. in"),
        ({"pictures": "s3://bucket/all"}, "pictures=s3://bucket/all: want a folder"),
        ({"pass_mark": 0}, "pass_mark=0"),
    ],
)
def test_refusals(handed: Folder, settings: dict[str, object], told: str | None) -> None:
    (handed.path / "empty").mkdir()
    ended = handed.run_here("grade_faces", SETTINGS | settings)
    if told is None:  # a folder whose sub-folders are students'
        assert ended.code == 0
        return
    assert told in ended.refusal()
    assert not (handed.path / "out").exists()


def test_of_two_pictures_the_png_counts_however_it_is_written(handed: Folder) -> None:
    ann = handed.path / "all/ann"
    for name in NAMES:
        (ann / f"{name}.png").rename(ann / f"{name}.PNG")
        Image.new("RGB", (32, 32)).save(ann / f"{name}.jpg")
    settings = SETTINGS | {"pictures": "all/ann"}
    assert handed.run_here("grade_faces", settings).code == 0
    files = [row["file"] for row in rows(handed.path / "out/tables/pictures.csv")]
    assert files == [f"{name}.PNG" for name in NAMES]


def test_each_picture_is_to_be_below_the_mark(
    handed: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fay = handed.path / "fay"
    write(fay, off=3)
    write(handed.path / "five", off=5)
    (handed.path / "five/01.png").rename(fay / "01.png")
    (fay / "02.png").rename(fay / "02.bmp")
    (fay / "02.png").mkdir()  # no picture of that name
    drawn: list[HandedRow] = []

    def sheets(name: str, given: object, students: list[HandedRow], *more: object) -> object:
        drawn.extend(students)
        return iter([])

    monkeypatch.setattr(student_report, "handed_sheets", sheets)
    ended = handed.run_here("grade_faces", SETTINGS | {"pictures": "fay", "pass_mark": 25})
    assert ended.code == 0
    (row,) = rows(handed.path / "out/tables/students.csv")
    assert (row["below_pass_mark"], row["largest_mse"], row["verdict"]) == ("2", "25.0", "FAIL")
    assert handed.query("SELECT value FROM latest_metrics WHERE key='eval/students_passed'") == [
        (0.0,)
    ]
    assert drawn[0].notes == ["MSE 9", "MSE 25", "MSE 9"]
    assert all(thumb is not None for thumb in drawn[0].thumbs)
