"""What is written, and in which order: a browser that fails costs the PDFs alone."""

import dataclasses
import json
from pathlib import Path

import pytest

from hw2.errors import ConfigError, StepsFailed
from hw2.report.content import collect
from hw2.report.writing import flat, print_pdf, write_report
from hw2.runlog.tracker import Tracker
from tests.report.small_report import SmallReport


class Told(Tracker):
    """A tracker that remembers what it was given."""

    tracking_uri: str | None = None

    def __init__(self, out: Path) -> None:
        self.out = out
        self.files: list[str] = []

    def log_file(self, path: Path, folder: str | None = None) -> None:
        self.files.append(path.name)

    def log_summary(self, metrics: object) -> None: ...


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A browser that cannot print."""
    path = tmp_path / "chromium"
    path.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    path.chmod(0o755)
    return path


def test_pages_and_numbers_are_kept_if_the_browser_fails(tmp_path: Path, broken: Path) -> None:
    small = SmallReport(tmp_path)
    told = Told(small.out)
    with pytest.raises(ConfigError, match="could not print: no display"):
        write_report(["en"], small.all(), told, broken)
    assert told.files == ["report.en.html", "metrics.json"]
    assert "samples" in json.loads((small.out / "metrics.json").read_text())["results"]


def test_an_old_pdf_is_not_taken_for_a_new_one(tmp_path: Path, broken: Path) -> None:
    page, pdf = tmp_path / "report.en.html", tmp_path / "report.en.pdf"
    pdf.write_text("old")
    with pytest.raises(ConfigError, match="could not print"):
        print_pdf(broken, page)
    assert not pdf.exists()


def test_what_is_not_made_anew_does_not_stay_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would tell of other results."""
    small = SmallReport(tmp_path)
    told = Told(small.out)
    write_report(["en", "zh-TW"], small.all(), told)
    page, pdf = small.out / "report.zh-TW.html", small.out / "report.zh-TW.pdf"
    before = page.read_text()
    pdf.write_text("of the page before")
    del small.results["clip"]
    capsys.readouterr()
    write_report(["en"], small.all(), told)
    assert page.read_text() != before and "clip" in before
    assert not pdf.exists()
    assert f"removed: {pdf}, of the page before" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["step", "part"])
def test_what_is_missing_ends_the_job_after_the_page(tmp_path: Path, what: str) -> None:
    small = SmallReport(tmp_path)
    if what == "step":
        failed = dataclasses.replace(small.results["clip"], status="failed", error="no room")
        small.results["clip"] = failed
        told = "1 of 13 steps failed, the first clip: no room; the page says so"
    else:
        (small.out / "merged/metrics.json").write_text("{")
        told = r"a figure is missing on the page \(merge\): merged: .*broken JSON"
    with pytest.raises(StepsFailed, match=told):
        write_report(["en"], small.all(), Told(small.out))
    assert (small.out / "report.en.html").exists() and (small.out / "metrics.json").exists()


def test_a_browser_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"pdf=true: {tmp_path}/nosuch cannot be run"):
        print_pdf(tmp_path / "nosuch", tmp_path / "report.en.html")


def test_numbers_alone_go_to_mlflow(tmp_path: Path) -> None:
    small = SmallReport(tmp_path)
    (small.out / "merged/metrics.json").write_text('{"a": NaN, "b": Infinity, "c": "3", "d": 4}')
    found = flat(collect(small.all()))
    assert {key for key in found if key.startswith("merged/")} == {"merged/d"}
    assert found["seconds/faces"] == 1.5 and found["faces/mse"] == 0.25
    assert found["samples/eval/network_calls"] == 34
    assert "faces/passed" not in found and all(type(value) is float for value in found.values())
