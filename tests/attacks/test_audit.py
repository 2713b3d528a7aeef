"""make audit: what pip-audit says, told in a line. Its source is not asked: it may be away."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.command import ROOT

SOUND = {"name": "tqdm", "version": "4.70.1", "vulns": []}
HOLE = {"id": "CVE-2023-48022", "fix_versions": ["2.54"], "aliases": [], "description": "runs code"}
BAD = {"name": "ray", "version": "2.9", "vulns": [HOLE]}
# What pip-audit 2.10 says of a package that a mirror of PyPI answers "not found" for.
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited"}

CASES = {
    "sound": ([SOUND], 0, "audit: 1 of 1 packages were looked up: 0 known holes"),
    "a hole": ([SOUND, BAD], 1, "ray 2.9: CVE-2023-48022, mended in 2.54"),
    "a mirror": ([UNKNOWN], 2, "audit: 0 of 1 packages were looked up; the source does not know"),
    "both": ([UNKNOWN, BAD], 1, "audit: 1 of 2 packages were looked up; the source does not"),
    "away": (None, 2, "audit: nothing was checked: pip-audit's source of known holes"),
}


@pytest.mark.parametrize("what", CASES)
def test_audit(what: str, tmp_path: Path) -> None:
    packages, code, said = CASES[what]
    program, answer = tmp_path / "pip-audit", tmp_path / "answer.json"
    text = "ERROR: no route to host" if packages is None else json.dumps({"dependencies": packages})
    answer.write_text(text)
    program.write_text(f"#!/bin/sh\ncat {answer}\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, ROOT / ".ci/audit", program, ROOT / "requirements.lock"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout.replace("\n", " ")


def test_the_lock_is_above_the_known_holes() -> None:
    """Ray before 2.54 and MLflow before 3.10 let strangers in (docs/reliability.md)."""
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pins = dict(line.split()[0].split("==") for line in lock if "==" in line.split(";")[0])
    versions = {name: tuple(map(int, pins[name].split(".")[:2])) for name in ("ray", "mlflow")}
    assert versions["ray"] >= (2, 54) and versions["mlflow"] >= (3, 10)
