"""Whoever reads what a job says may be gone, or never have been there."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.command import ROOT
from tests.test_config import start

HELP = f"{sys.executable} -m jobs.sample_digits --help"
WRONG = f"{sys.executable} -m jobs.sample_digits --sede 1"
BOXES = f"{sys.executable} -c 'from hw2.disclosure import *\nwith guarded_output(): print(\"│\")'"


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = ["env", *(f"{k}={v}" for k, v in variables.items())]
    command = [*words, "bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "line", [f"{HELP} | true", f"{HELP} | head -1", f"{HELP} >&-", f"{sys.executable} -m jobs >&-"]
)
def test_nobody_needs_to_read_it(line: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_is_one_without_stderr_too() -> None:
    assert shell(f"{WRONG} 2>&-").returncode == 2


def test_a_terminal_without_boxes_gets_their_numbers() -> None:
    done = shell(BOXES, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "\\u2502\n")


GUARDED = """
import sys
from hw2.disclosure import guarded_output

with guarded_output():
    sys.stdin.read()
    print("is", flush=True)
    print("anybody", file=sys.stderr, flush=True)
    print("there")
"""


def test_the_terminal_may_be_closed() -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-c", GUARDED]
    job = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    os.close(ours)
    job.communicate()
    assert job.returncode == 0


CRASHING = """
import atexit, ctypes
from hw2.config import Config
from hw2.errors import ConfigError
from hw2.job import run_job

def main(config):
    libc = ctypes.CDLL(None)
    libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
    atexit.register(print, "handlers are called")
    print("done")
    {then}

raise SystemExit(run_job(Config, main, argv=[]))
"""


@pytest.mark.parametrize(
    ("then", "code"), [("pass", 0), ("raise ConfigError('wrong')", 2), ("raise ValueError", -6)]
)
def test_a_destructor_that_crashes_after_all_is_done_changes_no_exit_code(
    then: str, code: int
) -> None:
    command = [sys.executable, "-c", CRASHING.format(then=then)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "done\nhandlers are called\n")


def test_results_that_are_removed_while_the_job_runs_are_told_in_one_line(tmp_path: Path) -> None:
    body = "out = claim_out(config); shutil.rmtree(out); (out / 'rows').write_text('1')"
    lines = f"import shutil\nfrom hw2.results import claim_out\n{body}"
    _, told = start(tmp_path, lines, "--out", "x").communicate(timeout=60)
    place = f"No such file or directory ({tmp_path}/x/rows)"
    gone = "out=x was removed while the job ran: the same command begins anew"
    assert told == f"error: {place}: {gone}\n"
