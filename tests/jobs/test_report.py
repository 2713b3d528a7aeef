"""The job of the report: real steps, one of which fails; nothing is done twice."""

import json
from pathlib import Path

import pytest

from hw2.config import load
from hw2.report.steps import plan
from hw2.settings.report import ReportConfig
from hw2.yaml_text import read_yaml
from jobs.report import settings_of
from tests.jobs.command import ROOT, Folder

STEPS = """
out: report
steps:
  faces:
    job: sample_faces
    settings: {unet: UNET, noise: NOISE, num_inference_steps: 5, scaling.num_workers: 0}
  interpolation:
    job: interpolate_faces
    settings: {unet: UNET, noise: NOISE, first: "07", scaling.num_workers: 0}
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
    first = folder.run("report", "--config", "steps.yaml")
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
        assert "python -m jobs.sample_faces" in page
    ((status,),) = folder.query("SELECT status FROM runs WHERE name = 'report'")
    assert status == "FAILED"
    assert list(folder.path.glob("mlartifacts/**/report.en.html"))

    drawn = (out / "faces/00.png").stat().st_mtime_ns
    steps_left = read_yaml(folder.path / "steps.yaml")["steps"]
    del steps_left["interpolation"], steps_left["merged"]
    words = ("--config", "steps.yaml", "--steps", json.dumps(steps_left))
    second = folder.run("report", *words)
    assert second.code == 0, second.err
    assert "faces: reused" in second.out
    assert (out / "faces/00.png").stat().st_mtime_ns == drawn


def test_local_report_names_jobs_and_settings_that_there_are() -> None:
    for name in ("local", "full"):
        words = ["--config", str(ROOT / f"jobs/configs/report_{name}.yaml")]
        for step in plan(load(ReportConfig, words, prog="report", description=""), settings_of):
            found = [str(ROOT / word) if word.endswith(".yaml") else word for word in step.words]
            load(settings_of(step.job), found, prog=step.job, description="")
