"""Steps a second under Ray Train with one and two workers against the bare loop, in turns.

python benchmarks/ray_train_overhead.py --pairs 5

The batch is the same for all, so that two workers have half of it each; every process computes with
one thread. Of each side: steps a second after the warm-up, checkpoints included; the share of a
step spent waiting for data; seconds from the start to the first step.
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


def train_once(out: Path, data: Path, num_workers: int, num_steps: int) -> None:
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
        train=TrainConfig(num_steps=num_steps, batch_size=64, checkpoint_every=30),
        scaling=ScalingConfig(num_workers=num_workers),
    )
    with job_run(config, "benchmark", splits={}) as (_, tracker):
        run_training(ddpm_training, config, "benchmark", tracker)


def measure(folder: Path, data: Path, num_workers: int, num_steps: int) -> dict[str, float]:
    """Steps a second after the warm-up, waiting for data, and seconds to the first step."""
    folder.mkdir()
    begin = time.time()
    words = ["--one", str(num_workers), "--steps", str(num_steps), "--data", str(data)]
    command = [sys.executable, __file__, *words, "--folder", str(folder / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
    rows = journal_rows(folder / "out")
    warm, last = rows[min(WARM_STEPS, len(rows) // 2)], rows[-1]
    speed = 1000 * (last["step"] - warm["step"]) / (last["time_ms"] - warm["time_ms"])
    waits = [row["values"]["train/data_wait_share"] for row in rows]
    start = rows[0]["time_ms"] / 1000 - begin
    return {"steps/s": speed, "data wait, share": statistics.median(waits), "start, s": start}


def main(argv: list[str] | None = None) -> None:
    """Run the sides in turns; their medians, and each one's pace over the one before."""
    parser = arguments("ray_train_overhead", __doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: without Ray")
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args(argv)
    data = words.data.absolute()
    if words.one is not None:
        train_once(words.folder, data, words.one, words.steps)
        return
    names = {n: "bare loop" if n == 0 else f"Ray Train, {n}" for n in words.workers}
    with tempfile.TemporaryDirectory() as temporary:
        places = itertools.count()
        sides = {
            name: lambda n=n: measure(Path(temporary, str(next(places))), data, n, words.steps)
            for n, name in names.items()
        }
        found = in_turns(sides, words.pairs)
    rows: list[dict[str, Any]] = []
    for name, measured in found.items():
        for key in measured[0]:
            rows.append({"side": name, "figure": key, **spread([one[key] for one in measured])})
    for before, after in itertools.pairwise(found):
        paces = [[one["steps/s"] for one in found[side]] for side in (after, before)]
        rows.append({"side": f"{after} / {before}", "figure": "steps/s", **ratios(*paces)})
    finish(words.json, vars(words), rows)


if __name__ == "__main__":
    main()
