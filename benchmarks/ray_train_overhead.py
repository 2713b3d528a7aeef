"""Steps a second under Ray Train with one and two workers against the bare loop, in turns.

python benchmarks/ray_train_overhead.py --pairs 5

The batch is the same for all, so that two workers have half of it each; every process computes with
one thread. Of each side: steps a second after the warm-up, checkpoints included; the share of a
step spent waiting for data; seconds from the start to the first step. What the machine has for two
workers at most is what two bare loops at once make of half a batch each: `apart`.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from frame import arguments, finish, in_turns, journal_rows, ratios, spread

WARM_STEPS = 10


def train_once(out: Path, data: Path, num_workers: int, num_steps: int, batch_size: int) -> None:
    """One training in this process (0 workers) or under Ray Train."""
    from hw2.config import ScalingConfig
    from hw2.digits.ddpm_training import ddpm_training
    from hw2.distributed.train import run_training
    from hw2.runs import job_run
    from hw2.settings.data import DataConfig
    from hw2.settings.digits import TrainDdpmConfig
    from hw2.settings.training import TrainConfig

    config = TrainDdpmConfig(
        out=out,
        data=DataConfig(root=data),
        train=TrainConfig(num_steps=num_steps, batch_size=batch_size, checkpoint_every=30),
        scaling=ScalingConfig(num_workers=num_workers),
    )
    with job_run(config, "benchmark") as (_, tracker):
        run_training(ddpm_training, config, "benchmark", tracker)


def measure(
    folder: Path, data: Path, num_workers: int, num_steps: int, batch_size: int, apart: int
) -> dict[str, float]:
    """Steps a second after the warm-up, waiting for data, and seconds to the first step.

    Of the slowest of `apart` trainings at once, which share the batch.
    """
    folder.mkdir()
    begin = time.time()
    words = ["--one", str(num_workers), "--steps", str(num_steps), "--data", str(data)]
    words += ["--batch_size", str(batch_size // apart), "--folder"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"  # not a user's server
    outs, running = [folder / str(number) for number in range(apart)], []
    for out in outs:
        command = [sys.executable, __file__, *words, str(out)]
        with out.with_suffix(".log").open("w") as log:
            running.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            )
    if any([process.wait() for process in running]):
        raise SystemExit("\n".join(log.read_text() for log in folder.glob("*.log")))
    found = []
    for out in outs:
        rows = journal_rows(out)
        warm, last = rows[min(WARM_STEPS, len(rows) // 2)], rows[-1]
        speed = 1000 * (last["step"] - warm["step"]) / (last["time_ms"] - warm["time_ms"])
        waits = [row["values"]["train/data_wait_share"] for row in rows]
        start = rows[0]["time_ms"] / 1000 - begin
        waited = statistics.median(waits)
        found.append({"steps/s": speed, "data wait, share": waited, "start, s": start})
    return min(found, key=lambda one: one["steps/s"])


def main(argv: list[str] | None = None) -> None:
    """Run the sides in turns; their medians, and each one's pace over the one before."""
    parser = arguments("ray_train_overhead", __doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: without Ray")
    parser.add_argument("--batch_size", type=int, default=64, help="of all workers together")
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args(argv)
    data = words.data.absolute()
    if words.one is not None:
        train_once(words.folder, data, words.one, words.steps, words.batch_size)
        return
    # name -> workers, trainings at once
    plan = {"bare loop" if n == 0 else f"Ray Train, {n}": (n, 1) for n in words.workers}
    if 2 in words.workers:
        plan["two bare loops apart"] = (0, 2)
    with tempfile.TemporaryDirectory() as temporary:
        places = itertools.count()
        sides = {
            name: lambda n=n, apart=apart: measure(
                Path(temporary, str(next(places))), data, n, words.steps, words.batch_size, apart
            )
            for name, (n, apart) in plan.items()
        }
        found = in_turns(sides, words.pairs)
    rows: list[dict[str, Any]] = []
    for name, measured in found.items():
        for key in measured[0]:
            rows.append({"side": name, "figure": key, **spread([one[key] for one in measured])})
    for before, after in itertools.pairwise(found):
        paces = [[one["steps/s"] for one in found[side]] for side in (after, before)]
        rows.append({"side": f"{after} / {before}", "figure": "steps/s", **ratios(*paces)})
    finish(words.json, vars(words), rows, threads=1)


if __name__ == "__main__":
    main()
