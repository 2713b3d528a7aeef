"""make chaos N=50: disturb tiny trainings N times at random, and print what came of it.

python -m tests.chaos --points 50 --seed 7 --out outputs/chaos
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import tests.conftest  # noqa: F401  the tests' environment, before anything reads it
from hw2.data.tree import prepare_digits
from hw2.metrics.table import format_table
from tests.chaos.episodes import (
    LOCAL,
    ON_CLUSTER,
    Ground,
    bare,
    diverging,
    local,
    on_cluster,
    without_mlflow,
)
from tests.chaos.training import CHECKPOINT_EVERY, Point

# How often each fault is drawn: the cheap ones more often.
SHARES = {"job": 20, "driver": 8, "worker": 10, "stop": 3, "raylet": 3, "head": 2, "mlflow": 2,
          "diverging": 2}  # fmt: skip
Episode = Callable[[Ground, random.Random], list[Point]]


def plan(draw: random.Random, count: int, only: Sequence[str]) -> list[Episode]:
    """Episodes with `count` disturbances in all, of the kinds in `only`."""
    drawn = draw.choices(only, [SHARES[name] for name in only], k=count)
    episodes: list[Episode] = []

    def groups(names: Iterable[str], size: int) -> list[list[str]]:
        mine = [name for name in drawn if name in names]
        return [mine[at : at + size] for at in range(0, len(mine), size)]

    episodes += [partial(bare, count=len(some)) for some in groups(["job"], 6)]
    episodes += [partial(local, faults=some) for some in groups(LOCAL, 4)]
    episodes += [partial(on_cluster, faults=some) for some in groups(ON_CLUSTER, 2)]
    episodes += [partial(without_mlflow, seconds=60)] * drawn.count("mlflow")
    episodes += [diverging] * drawn.count("diverging")
    return episodes


def table(points: list[Point]) -> str:
    """One line a fault."""
    rows = []
    for fault in sorted({point.fault for point in points}):
        mine = [point for point in points if point.fault == fault]
        seconds = [point.seconds for point in mine if point.seconds > 0]
        middle = f"{statistics.median(seconds):.0f} s, {max(seconds):.0f} s" if seconds else "-"
        rows.append(
            {
                "fault": fault,
                "times": len(mine),
                "in a checkpoint's write": sum(p.moment.startswith("writing") for p in mine),
                "torn checkpoints": sum(point.torn for point in mine),
                f"steps repeated of {CHECKPOINT_EVERY}: mean, most": (
                    f"{statistics.mean(p.repeated for p in mine):.1f}, "
                    f"{max(point.repeated for point in mine)}"
                ),
                "until training went on: median, most": middle,
            }
        )
    return format_table(rows)


def main() -> int:
    """1 if an episode lost something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--only", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--out", type=Path, default=Path("outputs/chaos"))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="hw2-", dir="/tmp")  # short: sockets
    work = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    prepare_digits(work / "tree", seed=0, num_train=200, num_val=100)
    ground = Ground(work, work / "tree")
    points, failed = list[Point](), 0
    for number, episode in enumerate(
        plan(random.Random(args.seed), args.points, args.only), start=1
    ):
        try:
            found = episode(ground, random.Random(f"{args.seed} {number}"))
        except AssertionError:
            failed += 1
            traceback.print_exc()
            print(f"episode {number} of seed {args.seed} failed; look at {work}", file=sys.stderr)
            continue
        points += found
        for point in found:
            print(f"{number}: {point}", flush=True)
        record = [asdict(point) for point in points]
        (args.out / f"points-{args.seed}.json").write_text(json.dumps(record, indent=1))
    print(table(points))
    print(f"episodes that lost something: {failed}")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
