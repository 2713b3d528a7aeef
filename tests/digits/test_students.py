"""Folders that students handed in: what is found, what counts, and what is refused."""

import csv
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data.handed_in.files import HandedFile, Student
from hw2.data.handed_in.folders import hash_of_all
from hw2.data.handed_in.readings import Reading, picture_sum, read_student
from hw2.data.listing.parts import CHANGED
from hw2.digits.student_grades import DigitReader, Grade, grade
from hw2.digits.student_report import flat, picture_rows, report_students, student_rows, to_json
from hw2.digits.students import find_students
from hw2.domains import DIGITS, DOMAINS
from hw2.errors import BusyError, ConfigError, DataError
from hw2.lock import JOB_LOCK, only_writer
from hw2.metrics.digit_scores import DigitScores
from hw2.metrics.intervals import wilson, with_limits
from hw2.models.judge import build_judge
from hw2.runlog.tracker import Tracker
from hw2.settings.grading import JudgeDigitsConfig
from tests.digits.handed_in import picture, write_bad_student, write_student


def found(*pictures: Path, out: Path = Path("out"), **more: object) -> list[Student]:
    config = JudgeDigitsConfig(pictures=pictures, out=out, **more)  # type: ignore[arg-type]
    return find_students(config)


def ignore(count: int) -> None:
    """A bar that nobody sees."""


@pytest.mark.parametrize("given", ["all", "all/ann"])
def test_a_folder_that_is_still_drawn_is_refused(tmp_path: Path, given: str) -> None:
    """Those pictures that were there were judged, and the rest told as missing."""
    write_student(tmp_path / "all/ann", 1)
    said = pytest.raises(BusyError, match=r"all/ann: a job is still at work there")
    with only_writer(tmp_path / "all/ann", 0.0, JOB_LOCK), said:
        found(tmp_path / given)
    assert len(found(tmp_path / given)) == 1
    (tmp_path / "begun").mkdir()
    with only_writer(tmp_path / "begun", 0.0, JOB_LOCK), pytest.raises(BusyError):
        found(tmp_path / "begun")


def test_a_folder_is_a_students_or_one_of_students(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ann", "bob"):
        write_student(tmp_path / "all" / name, 1)
    (tmp_path / "all/cy/output").mkdir(parents=True)
    (tmp_path / "all/__MACOSX").mkdir()
    (tmp_path / "all/.git").mkdir()
    (tmp_path / "all/__pycache__").mkdir()
    for name in ("ann.zip", "bob.tar.gz", "dan.zip", "list.csv"):
        (tmp_path / "all" / name).touch()
    students = found(tmp_path / "all")
    assert [student.name for student in students] == ["ann", "bob", "cy", "dan.zip"]
    assert [len(student.files) for student in students] == [20, 20, 2, 2]
    for file in students[3].files:
        assert (file.file, file.label, file.reason) == ("", None, "it is an archive: unpack it")
    assert [content for _, content in students[3].contents()] == 2 * ["it is an archive: unpack it"]
    assert [file.label for file in students[0].files] == [*range(10), *range(10)]
    gone = students[2].files[1]
    assert (gone.place, gone.file, gone.label) == ("svhn", "", None)
    assert gone.reason == "no folder svhn; found output/"
    passed = "ann.zip, bob.tar.gz, list.csv"
    warning = f"warning: {tmp_path}/all: no folders, and so passed over: {passed}\n"
    for domain in ("mnistm", "svhn"):
        missing = f"no folder {domain}; found output/"
        warning += f"warning: {tmp_path}/all/cy: nothing of {domain} is judged: {missing}\n"
    warning += f"warning: {tmp_path}/all/dan.zip: nothing of it is judged: it is an archive: "
    assert capsys.readouterr().err == warning + "unpack it\n"
    with_zip = found(tmp_path / "all/ann", tmp_path / "all/dan.zip")
    assert [student.name for student in with_zip] == ["ann", "dan.zip"]
    with pytest.raises(DataError, match=r"dan\.zip/mnistm/: it is an archive: unpack it"):
        found(tmp_path / "all/dan.zip")
    pair = found(tmp_path / "all/bob", tmp_path / "all/ann", domains=("svhn",))
    assert [student.name for student in pair] == ["bob", "ann"]
    assert {file.place for student in pair for file in student.files} == {"svhn"}


def test_students_whose_folders_are_called_alike_go_by_their_paths(tmp_path: Path) -> None:
    places = [tmp_path / name / "out" for name in ("ann", "bob")]
    for place in places:
        write_student(place, 1)
    assert [student.name for student in found(*places)] == [str(place) for place in places]
    with pytest.raises(ConfigError, match="ann/out is there twice: name it once"):
        found(*places, tmp_path / "bob/../ann/out")


def test_students_whom_escapes_would_make_one_are_numbered(tmp_path: Path) -> None:
    for name in ("ann\x01", "ann\\x01", "ann\\x01 (2)"):
        write_student(tmp_path / name, 1)
    first = f"{tmp_path}/ann\\x01"
    assert [student.name for student in found(tmp_path)] == [first, f"{first} (2)", "ann\\x01 (2)"]


def test_no_student_vanishes_behind_a_disk_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_student(tmp_path / "all/ann", 1)
    write_student(tmp_path / "all/bob", 1)
    there = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: Path(path).name != "bob" and there(path))
    assert [student.name for student in found(tmp_path / "all")] == ["ann", "bob"]


def test_no_student_vanishes_by_a_name_or_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everyone = tmp_path / "all"
    for name in ("ann", "__late", os.fsdecode("李小明".encode("big5"))):
        write_student(everyone / name, 1)
    (everyone / "cy").symlink_to(everyone / "ann")
    (everyone / "gone").symlink_to(everyone / "nowhere")
    (everyone / "ring").symlink_to("ring")
    students = {student.name: student for student in found(everyone)}
    assert [*students] == ["__late", "ann", "cy", r"\xa7\xf5\xa4p\xa9\xfa"]
    read = {name: len(list(one.contents())) for name, one in students.items() if name != "cy"}
    assert set(read.values()) == {20}
    assert all(type(content) is bytes for _, content in [*students.values()][-1].contents())
    assert {file.reason for file in students["cy"].files} == {
        "it is a link, which may lead anywhere: put the folder itself in its place"
    }
    told = capsys.readouterr().err
    assert "cy: nothing of it is judged: it is a link" in told
    assert "no folders, and so passed over: gone, ring\n" in told
    (tmp_path / "links").mkdir()
    (tmp_path / "links/ann").symlink_to(everyone / "ann")
    with pytest.raises(DataError, match=r"found ann \(1 of them links, which are not followed\)"):
        found(tmp_path / "links")
    (tmp_path / "link").symlink_to(everyone / "ann")  # which the teacher names
    assert [len(student.files) for student in found(tmp_path / "link")] == [20]


def test_pictures_count_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "mnistm").mkdir()
    for number in range(1, 12):
        picture(number).save(tmp_path / f"mnistm/3_{number}.png")
    (student,) = found(tmp_path, domains=("mnistm",))
    cut = student.counted(10)
    assert [file.file for file in cut.files if file.label is None] == ["3_11.png"]


def test_neither_a_letter_nor_a_digit_stands_behind_the_digit(tmp_path: Path) -> None:
    (tmp_path / "ann/mnistm").mkdir(parents=True)
    for name in ("3.png", "4_1.png", "5a.png", "6Z_1.png", "78.png", "9-1.png"):
        picture(1).save(tmp_path / "ann/mnistm" / name)
    (tmp_path / "svhn").touch()  # makes no student's folder of the one above
    (student,) = found(tmp_path, domains=("mnistm",))
    told = {file.file: file.label for file in student.files if file.label is not None}
    assert student.name == "ann" and told == {"3.png": 3, "4_1.png": 4, "9-1.png": 9}


def test_a_folder_of_which_nothing_counts_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_student(tmp_path / "ann", 1)
    (tmp_path / "bob/mnistm/0").mkdir(parents=True)
    found(tmp_path, domains=("mnistm",))
    told = "bob: nothing of mnistm is judged: found mnistm/0/: it is a folder\n"
    assert capsys.readouterr().err.endswith(told)


def test_what_is_no_students_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such folder: want a student's folder"):
        found(tmp_path / "none")
    with pytest.raises(DataError, match="such; found nothing"):
        found(tmp_path)
    for name in "abcdefg":
        (tmp_path / f"all/{name}/deep/mnistm").mkdir(parents=True)
    with pytest.raises(DataError, match=r"such; found a/, b/, c/, d/, e/ and 2 more"):
        found(tmp_path / "all")
    (tmp_path / "all/a/mnistm").mkdir()
    with pytest.raises(DataError, match=r"counts .*a/mnistm/: the folder is empty\): want"):
        found(tmp_path / "all")
    with pytest.raises(ConfigError, match=r"out=.*all/grades lies in pictures="):
        found(tmp_path / "all", out=tmp_path / "all/grades")
    with pytest.raises(ConfigError, match="pictures=s3://bucket/all: want a folder"):
        found(Path("s3:/bucket/all"))


@pytest.fixture
def bad(tmp_path: Path) -> Student:
    picture(3).save(tmp_path / "private.png")
    write_bad_student(tmp_path / "bad", tmp_path / "private.png")
    os.mkfifo(tmp_path / "bad/mnistm/0_002.png")
    return found(tmp_path / "bad")[0]


@pytest.fixture(scope="module")
def judge() -> DigitReader:
    return DigitReader(build_judge(1).eval())


def test_bad_files_have_their_reasons(bad: Student, judge: DigitReader, tmp_path: Path) -> None:
    read = read_student(judge, bad, bad.content_hash(ignore), tmp_path, ignore)
    rows = {file.file: (file.label, reading) for file, reading in zip(bad.files, read, strict=True)}
    unread = {name: (digit, r.reason) for name, (digit, r) in rows.items() if r.said is None}
    torn = unread.pop("0_001.png")
    assert torn[0] == 0 and str(torn[1]).startswith("broken picture (")
    untold = "its name tells no digit: want {digit}_{001..}.png"
    assert unread == {
        "0_002.png": (0, "it is not a regular file"),
        "1_001.png": (1, "not a picture (PNG, JPEG, WEBP, BMP)"),
        "2_001.png": (2, "it leaves the folder by a link"),
        "3_001.png": (3, "it is a folder"),
        "4_001.png": (4, "the file is empty"),
        "8_001.png": (8, "2001x2000 is over 4 megapixels"),
        "10_001.png": (None, untold),
        "nine.png": (None, untold),
        "9_001.txt": (None, "not a picture's suffix (.bmp .jpeg .jpg .png .webp)"),
        "": (None, unread[""][1]),
    }
    sizes = {name: r.size for name, (_, r) in rows.items() if r.said is not None}
    assert sizes == {"5_001.png": "56x40", "6_001.png": "28x28", "7_001.png": "28x28"}
    own = grade(bad.files, read, "mnistm")
    assert own.pictures == (2, 1, 1, 1, 1, 1, 1, 1, 1, 0)
    assert (own.total, own.unreadable, own.other_size, own.not_counted) == (10, 7, 1, 3)
    assert own.accuracy == wilson(own.right, 10) and own.right <= len(sizes)
    assert own.fewer.startswith("1: 1, 2: 1, ") and own.fewer.endswith(", 9: 0 (of 2)")
    nothing = grade(bad.files, read, "svhn")
    assert (nothing.total, nothing.not_counted, nothing.fewer) == (0, 0, "all")
    asked = grade(bad.files, read, "svhn", asked=2)
    assert (asked.total, asked.missing, asked.accuracy) == (20, 20, wilson(0, 20))
    assert asked.fewer == "all"
    half = grade(bad.files, read, "mnistm", asked=2)
    short = sum(max(0, 2 - count) for count in own.pictures)
    assert half.accuracy == wilson(own.right, 10 + short)
    assert half.missing == short > 0
    assert grade(bad.files, read, "mnistm", asked=3).fewer.startswith("0: 2, 1: 1, ")
    assert f"{nothing.accuracy}" == "n/a"


def test_more_pictures_than_asked_for_do_not_lift_a_grade(tmp_path: Path) -> None:
    """Five wrong of each of nine digits, and a thousand right ones of the tenth."""
    files = [
        HandedFile("svhn", f"{digit}_{index:04d}.png", 1, digit, None)
        for digit in DIGITS
        for index in range(1000 if digit == 1 else 5)
    ]
    readings = [Reading("28x28", 1, None)] * len(files)
    handed = Student("ann", tmp_path, tuple(files))
    own = handed.counted(5)
    found = grade(own.files, readings, "svhn", asked=5)
    assert (found.pictures, found.fewer, found.not_counted) == ((5,) * 10, "", 995)
    assert found.accuracy == wilson(5, 50)
    left_out = [file for file in own.files if file.label is None]
    assert left_out[0].file == "1_0005.png" and len(left_out) == 995
    assert picture_rows([own], [readings], {})[10]["reason"] == "more than the 5 asked for"
    assert handed.counted(0) == handed
    notes = HandedFile("svhn", "notes.txt", 1, None, "not a picture's suffix")
    assert Student("ann", tmp_path, (notes,) * 7).counted(5).files == (notes,) * 7
    more = grade(handed.counted(50).files, readings, "svhn", asked=50)
    assert more.fewer == ", ".join(f"{d}: 5" for d in DIGITS if d != 1) + " (of 50)"


def test_readings_are_kept_and_what_is_no_reading_is_not_taken(
    bad: Student, judge: DigitReader, tmp_path: Path
) -> None:
    known = bad.content_hash(ignore)
    first = read_student(judge, bad, known, tmp_path, ignore)
    other = DigitReader(build_judge(2).eval())  # would read otherwise
    assert read_student(other, bad, known, tmp_path, ignore) == first
    (path,) = (tmp_path / "readings").iterdir()
    whole = path.read_text()
    for broken in ("[]", "{", '{"a": 1}', whole.replace("56x40", "", 1)[:-3], "[" * 9000):
        path.write_text(broken)
        assert read_student(judge, bad, known, tmp_path, ignore) == first
        assert path.read_text() == whole
    path.write_text(whole.replace('"56x40",\n  ', '"56x40",\n  1'))  # a digit of two figures
    assert read_student(judge, bad, known, tmp_path, ignore) == first


def test_files_that_change_meanwhile_are_not_graded(
    bad: Student, judge: DigitReader, tmp_path: Path
) -> None:
    known = bad.content_hash(ignore)
    picture(70).save(bad.folder / "mnistm/7_001.png")
    assert bad.content_hash(ignore) != known
    with pytest.raises(DataError, match="bad: files changed while they were judged"):
        read_student(judge, bad, known, tmp_path, ignore)
    assert not (tmp_path / "readings").exists()


def test_the_hash_goes_with_the_folder_that_a_picture_lies_in(tmp_path: Path) -> None:
    for place in ("mnistm/1.png", "mnistm/2.png", "svhn/3.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        picture(int(place[-5])).save(tmp_path / place)
    before = found(tmp_path)[0].content_hash(ignore)
    (tmp_path / "mnistm/2.png").rename(tmp_path / "svhn/2.png")
    assert found(tmp_path)[0].content_hash(ignore) != before


def test_a_file_that_grows_meanwhile_is_told(tmp_path: Path) -> None:
    write_student(tmp_path / "ann", 1)
    (student,) = found(tmp_path / "ann")
    with (tmp_path / "ann/mnistm/3_001.png").open("ab") as file:
        file.write(b"more")
    assert [said for _, said in student.contents() if isinstance(said, str)] == [CHANGED]


def test_pictures_of_the_same_bytes_and_other_sides_are_not_equal() -> None:
    wide = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert picture_sum(wide) == picture_sum(wide.copy()) != picture_sum(wide.reshape(4, 2, 3))


def test_a_file_that_is_gone_meanwhile_is_told(tmp_path: Path) -> None:
    write_student(tmp_path / "ann", 1)
    (student,) = found(tmp_path / "ann")
    (tmp_path / "ann/mnistm/3_001.png").unlink()
    ((file, said),) = [pair for pair in student.contents() if isinstance(pair[1], str)]
    assert file.file == "3_001.png" and str(said).startswith("it cannot be read (")


def test_a_row_names_a_file_without_control_characters(tmp_path: Path) -> None:
    file = HandedFile("svhn", "1_001\x1b.png", 1, 1, None)
    (row,) = picture_rows([Student("ann", tmp_path, (file,))], [[Reading("28x28", 1, None)]], {})
    assert row["file"] == "1_001\\x1b.png"


def test_the_hash_goes_with_the_pictures_not_with_the_place(tmp_path: Path) -> None:
    write_student(tmp_path / "x/ann", 1)
    write_student(tmp_path / "y/ann", 1)
    write_student(tmp_path / "y/bob", 1, seed=1)
    x, y = found(tmp_path / "x"), found(tmp_path / "y")
    (ann,) = x = [(student.name, student.content_hash(ignore)) for student in x]
    y = [(student.name, student.content_hash(ignore)) for student in y]
    assert ann == y[0] and ann[1] != y[1][1]
    assert hash_of_all(dict(y)) == hash_of_all(dict(y[::-1]))
    file = tmp_path / "y/ann/svhn/0_001.png"
    content = file.read_bytes()
    file.rename(file.with_name("0_002.png"))
    renamed = found(tmp_path / "y/ann")[0].content_hash(ignore)
    file.with_name("0_002.png").write_bytes(b"")
    empty = found(tmp_path / "y/ann")[0].content_hash(ignore)
    file.with_name("0_002.png").unlink()
    file.with_name("0_002.png").mkdir()
    folder = found(tmp_path / "y/ann")[0].content_hash(ignore)
    file.with_name("0_002.png").rmdir()
    file.write_bytes(content)
    assert found(tmp_path / "y/ann")[0].content_hash(ignore) == ann[1]
    assert len({renamed, empty, folder, ann[1]}) == 4
    assert hash_of_all(dict(x)) != hash_of_all(dict(y))
    assert hash_of_all({"ann": ann[1]}) != hash_of_all({"bob": ann[1]})


def test_names_of_any_script_have_metrics_of_their_own() -> None:
    grades = {
        name: {"mnistm": Grade((10,) * 10, right, 0, 0, 0)}
        for name, right in {"李": 1, "王": 2, "a/b": 3, "a_b": 4}.items()
    }
    values = flat(grades)  # type: ignore[arg-type]
    assert values["eval/accuracy/李/mnistm"].value == 0.01  # type: ignore[union-attr]
    shares = sorted(v.value for k, v in values.items() if k.endswith("mnistm"))
    assert shares == [0.01, 0.02, 0.03, 0.04]
    assert values["eval/pictures"] == 400 and values["eval/students"] == 4


def test_long_names_have_metrics_that_mlflow_takes() -> None:
    grades = {"x" * 240 + end: {"mnistm": Grade((10,) * 10, 5, 0, 0, 0)} for end in "ab"}
    keys = [key for key in flat(grades) if key.endswith("mnistm")]  # type: ignore[arg-type]
    assert len(keys) == 2 and max(map(len, keys)) <= 250


def test_no_metric_of_what_is_undefined() -> None:
    grades = {"ann": {"mnistm": Grade((0,) * 10, 0, 0, 0, 0)}}
    counts = {"eval/students": 1, "eval/pictures": 0, "eval/unreadable": 0}
    assert with_limits(flat(grades)) == counts  # type: ignore[arg-type]


def test_a_student_is_read_the_same_in_chunks(
    judge: DigitReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_student(tmp_path / "ann", 1)
    (student,) = found(tmp_path / "ann")
    known = student.content_hash(ignore)
    whole = read_student(judge, student, known, tmp_path / "ann", ignore)
    monkeypatch.setattr("hw2.data.handed_in.readings.CHUNK", 7)
    counts: list[int] = []
    assert read_student(judge, student, known, tmp_path, counts.append) == whole
    assert counts == [7, 7, 6]


def reported(judge: DigitReader, folder: Path) -> tuple[list[Student], list[list[Reading]]]:
    """The students in folder/all and what is read of them; the report is in `folder`."""
    students = found(folder / "all")
    readings = [
        read_student(judge, student, student.content_hash(ignore), folder, ignore)
        for student in students
    ]
    config = JudgeDigitsConfig(pictures=(folder / "all",), out=folder)
    with Tracker(folder, "run", None, owner=False) as tracker:
        report_students(students, readings, {}, DigitScores(()), config, tracker)
    return students, readings


def test_tables_have_limits_and_confusions_a_row_for_what_was_meant(
    judge: DigitReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, torch.Tensor] = {}

    def figure(confusion: torch.Tensor, names: object, title: str, worst: object) -> Image.Image:
        drawn[title] = confusion
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("hw2.digits.student_report.confusion_figure", figure)
    write_student(tmp_path / "all/ann", 1)
    write_student(tmp_path / "all/bob", 2, seed=1)
    students, readings = reported(judge, tmp_path)
    for domain in DOMAINS:
        confusion = drawn[f"{domain}: 30 pictures of 2 students"]
        said = [
            reading.said
            for student, read in zip(students, readings, strict=True)
            for file, reading in zip(student.files, read, strict=True)
            if file.place == domain
        ]
        assert confusion.sum(1).tolist() == [3] * 10
        assert confusion.sum(0).tolist() == [said.count(digit) for digit in DIGITS]
    with (tmp_path / "tables/students.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] != "mean"]
    for row in rows:
        limits = wilson(int(row["read_right"]), int(row["pictures"]))
        assert [float(row[key]) for key in ("accuracy", "low", "high")] == [*vars(limits).values()]


def test_tables_and_metrics_tell_what_is_read_and_what_is_not(
    judge: DigitReader, tmp_path: Path
) -> None:
    write_student(tmp_path / "all/ann", 2)
    (tmp_path / "all/ann/svhn/7_002.png").write_bytes(b"torn")
    ((student,), (read,)) = reported(judge, tmp_path)
    rows = picture_rows([student], [read], {})
    assert [row["digit"] for row in rows] == [file.label for file in student.files]
    assert [row["read_as"] for row in rows] == [reading.said for reading in read]
    grades = {"ann": {d: grade(student.files, read, d, asked=3) for d in DOMAINS}}
    mean = student_rows(grades)[-1]
    assert (mean["domain"], mean["fewer"], mean["unreadable"], mean["missing"]) == (
        "mean", "", 1, 20,
    )  # fmt: skip
    assert flat(grades)["eval/unreadable"] == 1
    assert to_json(grades)["students"]["ann"]["svhn"]["pictures_by_digit"] == [2] * 10


def test_digits_are_read_as_they_are_stored(judge: DigitReader, tmp_path: Path) -> None:
    """As torchvision does, whatever an EXIF orientation says."""
    write_student(tmp_path / "ann", 1)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (56, 40)).save(tmp_path / "ann/svhn/7_001.png", exif=exif)
    (student,) = found(tmp_path / "ann")
    read = read_student(judge, student, student.content_hash(ignore), tmp_path, ignore)
    assert [one.size for one in read].count("56x40") == 1


def test_equal_pictures_are_told(judge: DigitReader, tmp_path: Path) -> None:
    ann, bob = tmp_path / "all/ann", tmp_path / "all/bob"
    write_student(ann, 1)
    write_student(bob, 1, seed=1)
    for name in ("3_002.png", "4_001.png"):
        shutil.copy(ann / "mnistm/3_001.png", ann / "mnistm" / name)
    with Image.open(ann / "svhn/0_001.png") as taken:
        taken.save(bob / "svhn/0_001.bmp")
    (bob / "svhn/0_001.png").unlink()
    reported(judge, tmp_path)
    with (tmp_path / "tables/students.csv").open(newline="") as file:
        rows = {(row["student"], row["domain"]): row for row in csv.DictReader(file)}
    told = {key: (int(row["repeated"]), int(row["shared"])) for key, row in rows.items()}
    assert told["ann", "mnistm"] == (2, 0) and told["ann", "mean"] == (2, 1)
    assert told["bob", "svhn"] == told["ann", "svhn"] == (0, 1) and told["bob", "mnistm"] == (0, 0)
    with (tmp_path / "tables/pictures.csv").open(newline="") as file:
        equal = [(r["student"], r["file"], r["equal_to"]) for r in csv.DictReader(file)]
    assert [one for one in equal if one[2]] == [
        ("ann", "3_002.png", "ann/mnistm/3_001.png"),
        ("ann", "4_001.png", "ann/mnistm/3_001.png"),
        ("bob", "0_001.bmp", "ann/svhn/0_001.png"),
    ]


def test_a_folder_that_may_not_be_listed_is_told_and_not_graded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows what is missing there; the grade was 0 %."""
    for name in ("ann", "bob"):
        write_student(tmp_path / name, 1)
    scandir = os.scandir

    def closing(path: str) -> object:
        if os.path.abspath(path) == os.path.abspath(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closing)
    closed = tmp_path / "bob"
    with pytest.raises(DataError, match=rf"{closed}.*cannot be listed .*Permission denied"):
        found(tmp_path)
    closed = tmp_path / "ann" / "svhn"
    assert [len(student.files) for student in found(tmp_path)] == [11, 20]
    assert f"{tmp_path}/ann: nothing of svhn is judged" in capsys.readouterr().err
