"""python -m tests.distributed.private_sweep FILE: sweeps of toys under one local Ray.

FILE holds [folder, points, settings] for each, in settings also `bucket`, the URI of OUT, and
`away`: who is told of a trial refuses it. Prints what came of them as JSON, and of a sweep whose
actor dies between two trials. A process of its own,
as with private_ray: Ray cannot pickle what conftest.py wraps with type checks.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hw2.bucket.out import mirrored
from hw2.config import ScalingConfig
from hw2.distributed.room import cluster_cpus_and_gpus
from hw2.distributed.session import connected
from hw2.distributed.sweep import run_sweep
from hw2.errors import ConfigError, StorageError
from hw2.runlog.run_file import RUN_FILE
from hw2.sweeps.trial import TrialResult
from tests.distributed.dying_reset import values_in_spite_of_it
from tests.sweeps.toy import ToyWork, lines, make_toy, toy_config


def swept(folder: Path, points: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Points that came back and that were told, and what was drawn up to now."""
    folder.mkdir(exist_ok=True)
    told: list[TrialResult] = []
    scaling = {"cpus_per_worker": cluster_cpus_and_gpus()[0] / 2, "use_gpu": False}  # two at once
    ballast, make_toy_work = np.zeros(settings.pop("ballast", 0), np.uint8), make_toy(folder)

    def make(on_gpu: bool) -> ToyWork:
        assert not ballast.any()
        return make_toy_work(on_gpu)

    away = settings.pop("away", False)

    def tell(trial: TrialResult) -> None:
        told.append(trial)
        if away:
            raise StorageError(f"away at {len(told)}")

    bucket = settings.pop("bucket", None)
    config = toy_config(folder, **{"scaling": scaling} | settings)
    try:
        with mirrored(bucket) if bucket else contextlib.nullcontext() as mirror:
            out = folder
            if mirror:
                mirror.take_over()
                out = mirror.folder
            (out / RUN_FILE).touch()
            trials = run_sweep(make, points, config, out, tell, mirror)
    except (ConfigError, StorageError) as error:
        return {"refused": str(error), "told": [trial.point for trial in told]}
    return {
        "points": [trial.point for trial in trials],
        "told": [trial.point for trial in told],
        "drawn": lines(folder / "drawn"),
        "made": lines(folder / "made"),
    }


def main(file: Path) -> None:
    """Print the list of what came of each, and the values of the other one."""
    with connected(ScalingConfig(use_gpu=False)):
        found = [swept(Path(one[0]), *one[1:]) for one in json.loads(file.read_text())]
        values = values_in_spite_of_it(file.parent)
    print(json.dumps([found, values]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
