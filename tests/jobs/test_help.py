"""`--help` of every job: at once, without the libraries that take seconds."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hw2.disclosure import HIDDEN
from tests.jobs.command import ROOT, Folder

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("[!_]*.py"))
HEAVY = {"torch", "ray", "mlflow", "matplotlib", "PIL", "sklearn", "diffusers", "numpy", "pyarrow"}


def test_the_package_lists_its_jobs() -> None:
    command = [sys.executable, "-m", "jobs"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = told.splitlines()
    assert [line.split()[0] for line in lines[: len(JOBS)]] == JOBS
    assert all(len(line.split()) > 3 for line in lines[: len(JOBS)])


# The help of each job: its exit code, what it says, and what of the second argument is imported.
HELPS = """
import contextlib, io, json, runpy, sys

jobs, heavy = (words.split() for words in sys.argv[1:])
for job in jobs:
    sys.argv = [job, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_module(f"jobs.{job}", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([job, code, out.getvalue(), sorted(sys.modules.keys() & heavy)]))
"""


def test_help_is_light_and_makes_nothing(folder: Folder) -> None:
    command = [sys.executable, "-c", HELPS, " ".join(JOBS), " ".join(HEAVY)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    told = subprocess.check_output(command, cwd=folder.path, env=environment, text=True)
    for line, job in zip(told.splitlines(), JOBS, strict=True):
        found, code, out, heavy = json.loads(line)
        assert (found, code, heavy) == (job, 0, [])
        assert f"python -m jobs.{job}" in out
        assert "--out" in out or "--name" in out
        assert HIDDEN not in out
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
