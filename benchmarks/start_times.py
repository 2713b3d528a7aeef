"""How long one waits: `--help` of every job, the first step of a training, `make test`.

python benchmarks/start_times.py --rounds 3 --test_log test.log

Wall-clock and core-seconds of whole processes. `--help` is set against its floor, an interpreter
that imports pydantic. The first step is the first row in the journal of jobs.train_ddpm, in this
process and under Ray Train with one worker. `make test` is not run: its time is read from a log
that `make test | tee test.log` leaves.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from frame import ROOT, arguments, finish, in_turns, journal_rows, spread

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("[!_]*.py"))
FLOOR = "python -c 'import pydantic'"


def waited(command: Sequence[str]) -> dict[str, float]:
    """Wall-clock and core-seconds of a process and those that it waited for."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "core_seconds": used}


def first_step(data: Path, num_workers: int) -> dict[str, float]:
    """Seconds from the command to its first metric row."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", "jobs/configs/demo.yaml", "--out", f"{folder}/out"]
        words += ["--data.root", str(data), "--scaling.num_workers", str(num_workers)]
        words += ["--train.num_steps", "2", "--train.warmup_steps", "0", "--num_per_class", "1"]
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        begin = time.time()
        command = [sys.executable, "-m", "jobs.train_ddpm", *words]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
        return {"seconds": journal_rows(Path(folder, "out"))[0]["time_ms"] / 1000 - begin}


def test_seconds(log: str) -> float:
    """Seconds of the last pytest run that `log` tells of."""
    found = re.findall(r"passed.* in ([0-9.]+)s", log)
    if not found:
        raise SystemExit("error: no line like '812 passed in 345.67s' in the log: give another")
    return float(found[-1])


def main(argv: list[str] | None = None) -> None:
    """Run all in turns and print a line each."""
    parser = arguments("start_times", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of --help")
    parser.add_argument("--step_rounds", type=int, default=1, help="of the first step; 0: not")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--test_log", type=Path, help="what `make test` printed")
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    words = parser.parse_args(argv)
    data = words.data.absolute()
    logged = test_seconds(words.test_log.read_text()) if words.test_log else None
    python = sys.executable
    sides: dict[str, Callable[[], Any]] = {FLOOR: lambda: waited([python, "-c", "import pydantic"])}
    for job in words.jobs:
        sides[f"jobs.{job} --help"] = lambda job=job: waited(
            [python, "-m", f"jobs.{job}", "--help"]
        )
    found = in_turns(sides, words.rounds)
    steps = {
        f"jobs.train_ddpm to its first step, num_workers {n}": lambda n=n: first_step(data, n)
        for n in (0, 1)
    }
    if words.step_rounds:
        found |= in_turns(steps, words.step_rounds)
    rows = []
    for name, measured in found.items():
        row: dict[str, Any] = {"what": name, **spread([one["seconds"] for one in measured])}
        if "core_seconds" in measured[0]:
            row["core-seconds"] = spread([one["core_seconds"] for one in measured])["value"]
        rows.append(row)
    if logged is not None:
        rows.append({"what": "pytest of make test", "value": logged})
    finish(words.json, vars(words), rows)


if __name__ == "__main__":
    main()
