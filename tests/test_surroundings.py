"""What other projects, a removed folder and a small allowance leave of a job."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from hw2.config import Config
from hw2.job import run_job
from hw2.surroundings import settle
from tests.jobs.command import ROOT

JOB = """
import os, sys, warnings
from hw2.config import Config
from hw2.job import run_job
from hw2.surroundings import settle

def main(config):
    warnings.warn("old", DeprecationWarning)
    print("PYTHONWARNINGS" in os.environ)

raise SystemExit(run_job(Config, main, argv=[]))
"""


def run(folder: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTHONPATH=str(ROOT)) | variables
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("rule", ["error", "error::DeprecationWarning"])
def test_warnings_of_packages_end_no_job(rule: str, tmp_path: Path) -> None:
    done = run(tmp_path, JOB, PYTHONWARNINGS=rule)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_other_rules_for_warnings_stay(tmp_path: Path) -> None:
    done = run(tmp_path, JOB, PYTHONWARNINGS="always")
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert "DeprecationWarning: old" in done.stderr


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run(gone, f"import os; os.rmdir({str(gone)!r})\n{JOB}")
    told = "error: the working folder is gone: cd to one that is there\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


def test_a_library_that_finds_no_room_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(said: str) -> int:
        def main(config: Config) -> None:
            raise ImportError(said)

        return run_job(Config, main, argv=[])

    assert fail("libtorch_cpu.so: failed to map segment from shared object") == 2
    told = "error: too little memory (libtorch_cpu.so: failed to map segment from shared object): "
    assert capsys.readouterr().err.startswith(told)
    with pytest.raises(ImportError, match="no such name"):
        fail("no such name")


def test_a_file_with_the_name_of_mlflow_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text("")
    program = "from hw2.tracking import prepare_store; prepare_store('sqlite:///t.db', 'x')"
    done = run(tmp_path, program)
    told = f"{tmp_path}/mlflow.py stands in the way of the package mlflow: rename it, or work in"
    assert told in done.stderr.splitlines()[-1]


ROW = """
import os
from hw2.tracking import connect, log_values, open_run, prepare_store
uri = f"sqlite:///{os.getcwd()}/t.db"
run = open_run(uri, prepare_store(uri, "x"), "key", "name", {})
log_values(connect(uri), run, [("loss", 1.0, 0, 0)])
"""


def test_rows_do_not_go_to_the_model_of_another_project(tmp_path: Path) -> None:
    done = run(tmp_path, ROW, MLFLOW_ACTIVE_MODEL_ID="m-1", _MLFLOW_ACTIVE_MODEL_ID="m-2")
    assert done.returncode == 0, done.stderr


def test_a_user_of_whom_no_home_is_known_has_that_of_containers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    settle()
    assert Path.home() == Path("/")
