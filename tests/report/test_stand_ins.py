"""What the page says of data that are not the course's."""

import html
from pathlib import Path

import pytest

from hw2.report.content import collect
from hw2.report.stand_ins import PARTS, stand_ins
from hw2.report.writing import write_report
from tests.report.small_report import SmallReport
from tests.report.test_writing import Told

FOLDERS = ("digits", "digits", "face", "clip_zeroshot", "textual_inversion", "text2image")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallReport:
    """In the folder that jobs name their data from, with none but the digits made."""
    monkeypatch.chdir(tmp_path)
    return SmallReport(tmp_path)


def test_each_part_is_known_by_its_own_folder(small: SmallReport) -> None:
    marks = {
        part: small.data / name / PARTS[part][1] for part, name in zip(PARTS, FOLDERS, strict=True)
    }
    for part, mark in marks.items():
        marks["digits"].unlink(missing_ok=True)
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        assert stand_ins(collect(small.all()).outputs.values()) == (part,)
        mark.unlink()
    assert stand_ins(collect(small.all()).outputs.values()) == ()


@pytest.mark.parametrize(
    ("language", "first", "second", "given"),
    [
        (
            *("en", "house numbers rendered in the style of SVHN", "a hundred small grey ones"),
            "The network is given",
        ),
        ("zh-TW", "仿 SVHN 風格", "一百張小尺寸的灰階影像", "網路是給定的"),
    ],
)
def test_the_page_says_which_data_are_not_the_courses(
    small: SmallReport, language: str, first: str, second: str, given: str
) -> None:
    page = small.out / f"report.{language}.html"
    write_report([language], small.all(), Told(small.out))
    assert first in page.read_text() and second not in page.read_text()
    assert given in page.read_text()
    (small.data / "digits/offline.json").unlink()
    (small.data / "face").mkdir()
    (small.data / "face/offline.json").touch()
    write_report([language], small.all(), Told(small.out))
    assert first not in page.read_text() and second in page.read_text()
    assert given not in page.read_text()
    (small.data / "face/offline.json").unlink()
    write_report([language], small.all(), Told(small.out))
    assert '<ul class="note">' not in page.read_text()


@pytest.mark.parametrize(
    ("language", "ours"), [("en", "baselines are not the course's"), ("zh-TW", "基準不是課程的")]
)
def test_baselines_of_made_concepts_are_not_taken_for_the_courses(
    small: SmallReport, language: str, ours: str
) -> None:
    page = small.out / f"report.{language}.html"
    write_report([language], small.all(), Told(small.out))
    assert ours not in html.unescape(page.read_text())
    (small.data / "textual_inversion/offline.json").touch()
    write_report([language], small.all(), Told(small.out))
    assert ours in html.unescape(page.read_text())


@pytest.mark.parametrize("config", ["data: 3", "data: {}", "noise: [1]", "images: null", "{}"])
def test_settings_without_a_folder_are_of_no_stand_in(small: SmallReport, config: str) -> None:
    (small.out / "samples/config.yaml").write_text(config)
    only = [collect(small.all()).outputs["samples"]]
    assert stand_ins(only) == ()
