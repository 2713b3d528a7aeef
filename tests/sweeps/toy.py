"""Trials of arithmetic: the mean of x plus a noise that all trials share, and a list of draws."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hw2.lock import only_writer
from hw2.metrics.intervals import Interval
from hw2.metrics.jackknife import Estimate, jackknife
from hw2.runlog.run_file import RUN_FILE
from hw2.settings.sweeps import SweepConfig
from hw2.sweeps.shown import Metric, Shown
from hw2.sweeps.space import Point
from hw2.sweeps.trial import Arrays, OfTrial, Scores

SHOWN = Shown(
    {
        "y": Metric("the mean", "y", ".2f"),
        "spread": Metric("the spread", "spread"),
        "network_calls": Metric("calls", "calls"),
    }
)


def noise(samples: range) -> np.ndarray:
    return np.array([np.random.Generator(np.random.Philox(key=s)).normal() for s in samples])


def spread(y: np.ndarray) -> Estimate:
    values = torch.from_numpy(y)
    return jackknife(lambda rows: values[rows].std(), torch.zeros(len(y), dtype=torch.int64))


@dataclass(frozen=True)
class ToyWork:
    """Writes `x first` to folder/drawn for each chunk, before it goes wrong where told to.

    The point's "trouble": "raise" and "die", always; "raise late", from sample 5 on until
    folder/mended is there; "die once", the first time; "change disks", die where the next process
    finds another run's folder; "lock it out", want the folder for itself.
    """

    folder: Path

    def draw(self, point: Point, samples: range, of_trial: OfTrial) -> Arrays:
        x, trouble = point["x"], point.get("trouble")
        with (self.folder / "drawn").open("a") as file:
            file.write(f"{x:g} {samples.start}\n")
        late = trouble == "raise late" and samples.start and not (self.folder / "mended").exists()
        if trouble == "raise" or late:
            raise ValueError(f"x={x:g} is cursed,\nas was told")
        if trouble == "change disks":
            (self.folder / RUN_FILE).write_text("another's")
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "lock it out":
            with only_writer(self.folder, 0.0):
                pass
        died = self.folder / "died"
        if trouble == "die" or (trouble == "die once" and not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        arrays = {"y": x + noise(samples), "first": np.arange(samples.start or 3)[:3]}
        if point.get("other") is not None:
            arrays["other"] = of_trial({"x": point["other"]})["y"]
            time.sleep(0.2)
        return arrays

    def score(self, point: Point, drawn: Arrays) -> tuple[Scores, Arrays]:
        mean, calls = float(drawn["y"].mean()), float(abs(point["x"]))
        scores: Scores = {"y": Interval(mean, mean - 1, mean + 1), "spread": spread(drawn["y"])}
        return scores | {"network_calls": Interval(calls, calls, calls)}, {"y": drawn["y"]}

    def sheet(self, point: Point, drawn: Arrays) -> Image.Image:
        return Image.new("RGB", (8, 8), (len(drawn["y"]), 0, 0))


def make_toy(folder: Path) -> Callable[[bool], ToyWork]:
    """Writes the process id to folder/made each time it makes one."""

    def make(on_gpu: bool) -> ToyWork:
        with (folder / "made").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return ToyWork(folder)

    return make


def lines(path: Path) -> list[str]:
    """Lines in order of the alphabet, none if there is no file."""
    return sorted(path.read_text().splitlines()) if path.exists() else []


def toy_config(out: Path, **more: Any) -> SweepConfig:
    """The sweep of x over 0, 1, 2 in this process, unless `more` says otherwise."""
    settings = {
        "out": out,
        "space": {"x": {"grid": [0, 1, 2]}},
        "metric": "y",
        "samples": 10,
        "scaling": {"num_workers": 0},
    }
    return SweepConfig.model_validate(settings | more)
