"""Steps a second under Ray Train against the bare loop, in alternating pairs on one machine.

python benchmarks/ray_train_overhead.py --pairs 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    """Steps a second after the warm-up, checkpoints included, and seconds to the first step."""
    folder.mkdir()
    begin = time.time()
    words = ["--one", str(num_workers), "--steps", str(num_steps), "--data", str(data)]
    command = [sys.executable, __file__, *words, "--folder", str(folder / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)
    lines = (folder / "out" / "journal.jsonl").read_text().splitlines()
    rows = [row for line in lines if (row := json.loads(line))["kind"] == "metrics"]
    warm, last = rows[WARM_STEPS], rows[-1]
    seconds = (last["time_ms"] - warm["time_ms"]) / 1000
    speed = (last["step"] - warm["step"]) / seconds
    return {"speed": speed, "start": rows[0]["time_ms"] / 1000 - begin}


def main() -> None:
    """Print a line a pair, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    data = args.data.absolute()
    if args.one is not None:
        train_once(args.folder, data, args.one, args.steps)
        return
    ratios, starts = [], {0: [], 1: []}
    with tempfile.TemporaryDirectory() as temporary:
        for pair in range(args.pairs):
            order = (0, 1) if pair % 2 == 0 else (1, 0)
            found = {
                n: measure(Path(temporary) / f"{pair}-{n}", data, n, args.steps) for n in order
            }
            ratios.append(found[1]["speed"] / found[0]["speed"])
            for n in (0, 1):
                starts[n].append(found[n]["start"])
            print(
                f"pair {pair + 1}: bare {found[0]['speed']:.2f} steps/s, "
                f"Ray Train {found[1]['speed']:.2f} steps/s, ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(
        f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}); "
        f"start to first step: bare {statistics.median(starts[0]):.1f} s, "
        f"Ray Train {statistics.median(starts[1]):.1f} s"
    )


if __name__ == "__main__":
    main()
