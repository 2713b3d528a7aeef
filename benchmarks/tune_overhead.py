"""A sweep under Ray Tune against the same trials in plain loops, in alternating pairs.

python benchmarks/tune_overhead.py --pairs 3
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_TRIALS = 20
SPACE = {"guidance_weight": [round(0.2 * i, 1) for i in range(NUM_TRIALS)]}


def plain_loop(folder: Path, data: Path, samples: int, first: int, processes: int) -> None:
    """Every `processes`-th trial from `first` on, drawn and scored, one after the other."""
    import torch

    from hw2.digits.sweep import make_guidance_work
    from hw2.locate import find_model
    from hw2.settings.data import DataConfig
    from hw2.settings.digits import SampleSettings
    from hw2.sweeps.trial import CHUNK

    torch.set_num_threads(1)
    weights, judge = find_model("asset:digits"), find_model("asset:judge")
    work = make_guidance_work(weights, judge, DataConfig(root=data), SampleSettings(), 0)(False)
    for weight in SPACE["guidance_weight"][first::processes]:
        point = {"guidance_weight": weight}
        drawn = [work.draw(point, range(i, i + CHUNK), dict) for i in range(0, samples, CHUNK)]
        arrays = {k: _joined([d[k] for d in drawn]) for k in drawn[0]}
        scores, _ = work.score(point, arrays)
        (folder / f"{weight}.txt").write_text(str(scores["accuracy"]))


def _joined(parts: list) -> object:
    import numpy as np

    return np.concatenate(parts)


def measure_plain(folder: Path, data: Path, samples: int, processes: int) -> float:
    """Seconds of all processes, from their start to the end of the last."""
    folder.mkdir()
    words = ["--data", str(data), "--samples", str(samples), "--processes", str(processes)]
    commands = [
        [sys.executable, __file__, *words, "--folder", str(folder), "--one", str(first)]
        for first in range(processes)
    ]
    begin = time.monotonic()
    running = [
        subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for command in commands
    ]
    assert [process.wait() for process in running] == [0] * processes
    return time.monotonic() - begin


def measure_sweep(folder: Path, data: Path, samples: int, processes: int) -> float:
    """Seconds of the whole job, report and MLflow included."""
    folder.mkdir()
    config = folder / "sweep.yaml"
    config.write_text(
        f"space: {{guidance_weight: {{grid: {SPACE['guidance_weight']}}}}}\n"
        f"baseline: {{guidance_weight: 0}}\nsamples: {samples}\n"
    )
    words = ["--config", str(config), "--out", str(folder / "out"), "--data.root", str(data)]
    words += ["--scaling.num_workers", str(processes)]
    begin = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "jobs.tune_guidance", *words],
        check=True,
        cwd=folder,
        capture_output=True,
    )
    return time.monotonic() - begin


def main() -> None:
    """Print a line a pair, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=20, help="noises a trial")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    data = args.data.absolute()
    if args.one is not None:
        plain_loop(args.folder, data, args.samples, args.one, args.processes)
        return
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(args.pairs):
            sides = [("plain", measure_plain), ("sweep", measure_sweep)]
            seconds = {
                name: measure(Path(folder, f"{name}{pair}"), data, args.samples, args.processes)
                for name, measure in sides[:: 1 if pair % 2 == 0 else -1]
            }
            ratios.append(seconds["sweep"] / seconds["plain"])
            print(
                f"pair {pair + 1}: plain loops {seconds['plain']:.1f} s, "
                f"sweep {seconds['sweep']:.1f} s, ratio {ratios[-1]:.3f}",
                flush=True,
            )
    pictures = args.samples * 20
    print(
        f"{NUM_TRIALS} trials of {pictures} pictures, {args.processes} processes: median ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
