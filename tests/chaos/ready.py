"""Jobs without Ray that start at once: forked from a process that has imported what they need.

A kill point then waits for no imports. Jobs on Ray have to start as users start them.
"""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

from hw2.job import run_job

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["hw2.digits.judge_training", "hw2.digits.judging", "hw2.distributed.train", "hw2.runs",
     "hw2.metrics.table", "mlflow.store.tracking.sqlalchemy_store",
     "torch._dynamo"]  # which the first optimizer imports
)  # fmt: skip


class Forked:
    """`python -m jobs.JOB WORDS` in `folder`, as far as subprocess.Popen's users can tell."""

    def __init__(
        self, job: str, words: list[object], folder: Path, log: Path, variables: Mapping[str, str]
    ) -> None:
        told = (job, list(map(str, words)), folder, log, {"HOME": str(folder), **variables})
        self._process = SERVER.Process(target=_run, args=told)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode


def _run(job: str, words: list[str], folder: Path, log: Path, variables: Mapping[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(variables)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    main = importlib.import_module(f"jobs.{job}").main
    sys.exit(run_job(get_type_hints(main)["config"], main, argv=words))
