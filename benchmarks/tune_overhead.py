"""A sweep under Ray Tune against the same trials in plain loops, in turns.

python benchmarks/tune_overhead.py --pairs 3
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from frame import arguments, finish, in_turns, ratios, spread

NUM_TRIALS = 20


def weights(count: int) -> list[float]:
    """The guidance weights of `count` trials."""
    return [round(0.2 * i, 1) for i in range(count)]


def plain_loop(words: argparse.Namespace) -> None:
    """Every `processes`-th trial from `first` on, drawn and scored, one after the other."""
    import numpy as np
    import torch

    from hw2.digits.sweep import make_guidance_work
    from hw2.locate import find_model
    from hw2.settings.data import DataConfig
    from hw2.settings.digits import SampleSettings
    from hw2.sweeps.trial import CHUNK

    torch.set_num_threads(1)
    model, judge, data = find_model("asset:digits"), find_model("asset:judge"), words.data
    work = make_guidance_work(model, judge, DataConfig(root=data), SampleSettings(), 0)(False)
    chunks = [range(i, i + CHUNK) for i in range(0, words.samples, CHUNK)]
    for weight in weights(words.trials)[words.one :: words.processes]:
        point = {"guidance_weight": weight}
        drawn = [work.draw(point, chunk, dict) for chunk in chunks]
        arrays = {k: np.concatenate([d[k] for d in drawn]) for k in drawn[0]}
        scores, _ = work.score(point, arrays)
        (words.folder / f"{weight}.txt").write_text(str(scores["accuracy"]))


def measure_plain(folder: Path, words: argparse.Namespace) -> float:
    """Seconds of all processes, from their start to the end of the last."""
    folder.mkdir()
    told = ["data", "samples", "processes", "trials"]
    told = [word for key in told for word in (f"--{key}", str(getattr(words, key)))]
    command = [sys.executable, __file__, *told, "--folder", str(folder), "--one"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    running = [
        subprocess.Popen([*command, str(first)], env=environment)
        for first in range(words.processes)
    ]
    assert [process.wait() for process in running] == [0] * words.processes
    return time.monotonic() - begin


def measure_sweep(folder: Path, words: argparse.Namespace) -> float:
    """Seconds of the whole job, report and MLflow included."""
    folder.mkdir()
    config = folder / "sweep.yaml"
    config.write_text(
        f"space: {{guidance_weight: {{grid: {weights(words.trials)}}}}}\n"
        f"baseline: {{guidance_weight: 0}}\nsamples: {words.samples}\n"
    )
    told = ["--config", str(config), "--out", str(folder / "out"), "--data.root", str(words.data)]
    told += ["--scaling.num_workers", str(words.processes)]
    begin = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "jobs.tune_guidance", *told],
        check=True,
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"},
        capture_output=True,
    )
    return time.monotonic() - begin


def main(argv: list[str] | None = None) -> None:
    """Run both in turns; seconds of each, and their ratio."""
    parser = arguments("tune_overhead", __doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--samples", type=int, default=20, help="noises a trial")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args(argv)
    words.data = words.data.absolute()
    if words.one is not None:
        plain_loop(words)
        return
    with tempfile.TemporaryDirectory() as temporary:
        places = itertools.count()
        sides = {
            name: lambda act=act: act(Path(temporary, str(next(places))), words)
            for name, act in (("plain loops", measure_plain), ("Tune", measure_sweep))
        }
        found = in_turns(sides, words.pairs)
    rows = [{"side": side, "unit": "s", **spread(seconds)} for side, seconds in found.items()]
    times = ratios(found["Tune"], found["plain loops"])
    rows.append({"side": "Tune / plain loops", "unit": "times", **times})
    finish(words.json, vars(words), rows, threads=1)


if __name__ == "__main__":
    main()
