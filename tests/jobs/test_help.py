"""`--help` of every job: at once, without the libraries that take seconds."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hw2.disclosure import HIDDEN
from tests.jobs.command import ROOT, Folder

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("[!_]*.py"))
HEAVY = {"torch", "ray", "mlflow", "matplotlib", "PIL", "sklearn", "diffusers", "numpy", "pyarrow"}


def test_all_jobs_are_here() -> None:
    digits = {"prepare_data", "sample_digits", "train_ddpm", "train_judge", "tune_guidance"}
    faces = {"train_faces", "sample_faces", "eta_sheet", "interpolate_faces", "tune_eta"}
    clip = {"clip_zero_shot", "train_clip"}
    assert digits | faces | clip <= set(JOBS)


def test_the_package_lists_its_jobs() -> None:
    command = [sys.executable, "-m", "jobs"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = told.splitlines()
    assert [line.split()[0] for line in lines[: len(JOBS)]] == JOBS
    assert all(len(line.split()) > 3 for line in lines[: len(JOBS)])


@pytest.mark.parametrize("job", JOBS)
def test_help_is_light_and_makes_nothing(job: str, folder: Folder) -> None:
    ended = folder.run(job, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert ended.code == 0
    assert f"python -m jobs.{job}" in ended.out
    assert "--out" in ended.out or "--name" in ended.out
    assert HIDDEN not in ended.out
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in ended.err.splitlines()}
    assert "pydantic" in imported
    assert not imported & HEAVY
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("job", JOBS)
def test_the_head_of_a_job_is_its_command(job: str) -> None:
    head = (ROOT / "jobs" / f"{job}.py").read_text().split('"""')[1]
    assert f"\npython -m jobs.{job} --" in head


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "jobs/configs").glob("*.yaml"), *(ROOT / "tune_configs").glob("*.yaml")]),
    ids=lambda p: p.stem,
)
def test_the_head_of_a_config_is_a_command_that_resolves(
    path: Path,
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head = path.read_text().splitlines()[0]
    assert head.startswith("# python -m jobs.")
    module, *words = head.partition("(")[0].split()[3:]
    assert str(path.relative_to(ROOT)) in words
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [module, *words, "--print_config"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    assert "out:" in capsys.readouterr().out
