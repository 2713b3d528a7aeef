"""Jobs as the user starts them: a command in a working folder, its output, its MLflow store."""

import contextlib
import csv
import importlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, get_type_hints

import psutil

from hw2.job import run_job
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def refusal(self) -> str:
        """What follows `error: ` in the last line of stderr, the only such line; no traceback."""
        *before, last = self.err.strip().splitlines()
        assert self.code == 2, self.err
        assert last.startswith("error: "), self.err
        assert not [line for line in before if "error:" in line or "Traceback" in line], self.err
        return last.removeprefix("error: ")


def as_words(settings: Mapping[str, object]) -> list[str]:
    """`--key value` for each setting."""
    return [str(word) for key, value in settings.items() for word in (f"--{key}", value)]


@dataclass(frozen=True)
class Folder:
    """A working folder: commands run here, and mlflow.db appears here."""

    path: Path

    def start(
        self, job: str, *words: object, log: IO[str] | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        """Begin `python -m jobs.JOB WORDS` with further environment variables.

        What it says comes through pipes, which a long run would fill, or goes to `log`.
        """
        environment = dict(os.environ, HOME=str(self.path), PYTHONPATH=str(ROOT))
        environment.pop("RAY_AUTH_MODE", None)  # as a user has it
        return subprocess.Popen(
            [sys.executable, "-m", f"jobs.{job}", *map(str, words)],
            cwd=self.path,
            env=environment | variables,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            text=True,
        )

    def run(self, job: str, *words: object, **variables: str) -> Ended:
        """The whole command."""
        process = self.start(job, *words, **variables)
        out, err = process.communicate()
        print(out, err, file=sys.stderr)  # pytest shows it if the test fails
        return Ended(process.returncode, out, err)

    def run_here(self, job: str, settings: Mapping[str, object]) -> Ended:
        """The same in this process, which saves its start: `--key value` for each setting."""
        main = importlib.import_module(f"jobs.{job}").main
        out, err = io.StringIO(), io.StringIO()
        told = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
        with contextlib.chdir(self.path), told[0], told[1]:
            code = run_job(get_type_hints(main)["config"], main, argv=as_words(settings))
        print(out.getvalue(), err.getvalue(), file=sys.stderr)
        return Ended(code, out.getvalue(), err.getvalue())

    def query(self, sql: str, *values: object) -> list[tuple]:
        """Rows of the MLflow store, read without MLflow."""
        with closing(sqlite3.connect(self.path / "mlflow.db")) as database:
            return database.execute(sql, values).fetchall()

    def steps(self, metric: str) -> list[int]:
        """The steps at which MLflow has `metric`, over all runs."""
        return [s for (s,) in self.query("SELECT step FROM metrics WHERE key=? ORDER BY 1", metric)]


def bits(out: Path) -> tuple[bytes, bytes]:
    """What must not depend on interruptions: the final weights, and all of the last state."""
    newest = max((out / "checkpoints").glob("step_*"))
    return (out / "final.safetensors").read_bytes(), (newest / "state.safetensors").read_bytes()


def rows(path: Path) -> list[dict[str, str]]:
    """A table as the job wrote it."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def wait_for_work(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return when `condition()` holds, or the job has ended."""
    wait_for(lambda: process.poll() is not None or condition(), 150, every=0.003)


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Return when the job has made `path`, or has ended."""
    wait_for_work(path.exists, process)


def last_step(journal: Path) -> int:
    """The newest step that has a row."""
    try:
        whole = journal.read_text().rpartition("\n")[0].splitlines()
    except OSError:
        return 0
    rows = (json.loads(line) for line in reversed(whole))
    return next((row["step"] for row in rows if row["kind"] == "metrics"), 0)


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(pid: int) -> dict[int, str]:
    """Process title by id of all that `pid` has started, directly or not."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[child.pid] = " ".join(child.cmdline()).rstrip()
    return found


def at_work(pid: int) -> bool:
    """Whether the process is there, and is more than an entry that its parent has not read yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
