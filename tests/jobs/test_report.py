"""The job of the report: real steps, one of which fails; nothing is done twice."""

import json
import re
from pathlib import Path

import pytest

from hw2.config import JobConfig, load
from hw2.errors import ConfigError
from hw2.job import run_job
from hw2.personalize.merging import read_caption_texts
from hw2.report.content import warn_of_unknown
from hw2.report.steps import Planned, plan, settings
from hw2.settings.report import ReportConfig
from hw2.yaml_text import read_yaml
from jobs.report import main, settings_of
from tests.jobs.command import ROOT, Folder

STEPS = """
out: report
steps:
  faces:
    job: sample_faces
    settings: {model: UNET, noise: NOISE, num_inference_steps: 5, scaling.num_workers: 0}
  interpolation:
    job: interpolate_faces
    settings: {model: UNET, noise: NOISE, first: "07", scaling.num_workers: 0}
  merged:
    job: merge_concepts
    settings: {concepts: ["{out}/interpolation"]}
"""


@pytest.mark.slow
def test_a_report_with_a_step_that_fails_and_the_second_call(
    face_tree: Path, folder: Folder
) -> None:
    text = STEPS.replace("UNET", str(face_tree / "UNet.pt"))
    (folder.path / "steps.yaml").write_text(text.replace("NOISE", str(face_tree / "noise")))
    first = folder.run_here("report", {"config": "steps.yaml"})
    assert first.code == 1
    assert "faces: done" in first.out and "merged: skipped" in first.out
    told = first.err.strip().splitlines()[-1]
    assert told.startswith("error: 2 of 3 steps failed, the first interpolation: ")
    assert "07" in told and "Traceback" not in first.err
    out = folder.path / "report"
    steps = json.loads((out / "metrics.json").read_text())["steps"]
    assert [step["status"] for step in steps.values()] == ["done", "failed", "skipped"]
    for language, title in (("en", "Faces of the given noises"), ("zh-TW", "由給定雜訊生成的人臉")):
        page = (out / f"report.{language}.html").read_text()
        assert title in page and "data:image/png;base64," in page
        assert "python -m jobs.sample_faces --" in re.sub("<[^>]+>", "", page)
    ((status,),) = folder.query("SELECT status FROM runs WHERE name = 'report'")
    assert status == "FAILED"
    assert list(folder.path.glob("mlartifacts/**/report.en.html"))

    drawn = (out / "faces/00.png").stat().st_mtime_ns
    steps_left = read_yaml(folder.path / "steps.yaml")["steps"]
    del steps_left["interpolation"], steps_left["merged"]
    left = {"config": "steps.yaml", "steps": json.dumps(steps_left)}
    second = folder.run_here("report", left)
    assert second.code == 0, second.err
    assert "faces: reused" in second.out
    assert (out / "faces/00.png").stat().st_mtime_ns == drawn


def test_steps_that_the_page_does_not_know_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    jobs = {"samples": "sample_digits", "mine": "sample_digits", "dog": "textual_inversion"}
    steps = [Planned(name, job, (), tmp_path / name, ()) for name, job in jobs.items()]
    steps.append(Planned("unet", "train_faces", (), tmp_path / "unet", ()))
    steps.append(Planned("faces", "sample_faces", (), tmp_path / "faces", ("unet",)))
    warn_of_unknown(steps)
    told = capsys.readouterr().err
    assert told.startswith("warning: steps.mine: the page has a row of it in its table of steps, ")
    assert "steps called clip, concepts, " in told and told.count("\n") == 1


def configured(name: str) -> dict[str, JobConfig]:
    """The settings of each step of jobs/configs/report_NAME.yaml."""
    words = ["--config", f"jobs/configs/report_{name}.yaml"]
    report = load(ReportConfig, words, prog="report", description="")
    return {step.name: settings(step, settings_of) for step in plan(report, settings_of)}


def test_the_reports_name_jobs_and_settings_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert {"samples", "grades"} < configured("local").keys() & configured("full").keys()


def test_the_full_report_gives_what_the_courses_tree_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    steps = configured("full")
    merged = steps["merged"].model_dump()
    captions = read_caption_texts(merged["captions"], merged["num_captions"])
    assert sum(len(caption.split()) for caption in captions) > 768  # Stable Diffusion's width
    together = steps["concepts"].model_dump()["together"]
    assert together == ("a <new1> next to a <new2>", "a <new1> in the style of <new2>")
    assert steps["inversion_1"].model_dump()["templates"] == "style"
    assert steps["custom_1"].model_dump()["templates"] == ("style",)
    assert steps["custom_joint"].model_dump()["templates"] == ("object", "style")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "s3://bucket/report"], "out=s3://bucket/report on the command line: s3://"),
        (["--out", "report", "--pdf"], "none of chromium"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = [*words, "--steps", json.dumps({"faces": {"job": "sample_faces"}})]
    assert run_job(ReportConfig, main, argv=argv) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("job", ["nosuch", "configs"])
def test_no_such_job(job: str) -> None:
    with pytest.raises(ConfigError, match=f"job={job}: there is no jobs/{job}.py"):
        settings_of(job)


@pytest.mark.parametrize("job", ["prepare_data", "release_asset"])
def test_a_job_without_results_is_no_step(job: str) -> None:
    with pytest.raises(ConfigError, match=f"job={job}: is no step of a report"):
        settings_of(job)


def test_help_promises_no_bucket(folder: Folder) -> None:
    shown = " ".join(folder.run("report", "--help").out.split())
    assert "--out folder of the results, a folder in it for each step (a path; required)" in shown
    assert "s3://" not in shown
