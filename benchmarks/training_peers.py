"""Judged accuracy against core-seconds of training: jobs/configs/demo.yaml and two peers.

python benchmarks/training_peers.py --core_seconds 1200

Each recipe is a process of one thread, on the same pictures, until it has used the core-seconds or
come to its end: ours; the one that students start from (reference_recipe.py); the guided model of
denoising-diffusion-pytorch with its trainer's settings. Now and then pictures are drawn from the
weights at hand and read by asset:judge, w=2 in all steps for all; that time does not count. Ours
draws by its 25 DDIM steps, the peers by 50: their own samplers would take hours.

Where the machine multiplies bfloat16 natively, all compute in it, as our jobs do by default. With
--device cuda all of it is seconds of the GPU.

`floor` sets the pace of our loop against the forward and backward passes and the optimiser alone,
on a batch that stays, in turns.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frame import (
    ROOT,
    add_device,
    arguments,
    autocast,
    finish,
    in_turns,
    ratios,
    refuse_no_gpu,
    seconds,
    spread,
    unit,
)
from training_recipes import Ours, Package, Recipe, Reference

SIDES = ("ours", "reference", "package", "floor")
ENOUGH = 0.8


def read(recipe: Recipe, noises: int) -> dict[str, float]:
    """Judged accuracy of 20 * `noises` pictures, and of each domain."""
    import torch

    from hw2.digits.judging import judge_pictures, load_judge
    from hw2.domains import DOMAINS
    from hw2.locate import find_model
    from hw2.metrics.intervals import mean_of_intervals, wilson

    judge, digits = load_judge(find_model("asset:judge")), torch.arange(10)
    digits, parts = digits.repeat_interleave(noises), []
    for domain in range(len(DOMAINS)):
        images = recipe.draw(domain, range(noises)).flatten(0, -4)
        found = judge_pictures(judge, images, digits, torch.full_like(digits, domain))
        parts.append(wilson(int((found.predictions == digits).sum()), len(digits)))
    shares = {name: part.value for name, part in zip(DOMAINS, parts, strict=True)}
    return {**vars(mean_of_intervals(parts)), **shares}


def train(recipe: Recipe, words: argparse.Namespace, every: float, noises: int) -> Iterator[dict]:
    """What was read each `every` core-seconds, and at the end."""
    used, pictures, last_read = 0.0, 0, 0.0
    while True:
        begin = seconds(words.device)
        seen = recipe.advance()
        used, pictures = used + seconds(words.device) - begin, pictures + seen
        ended = seen == 0 or used >= words.core_seconds
        if used >= last_read + every or ended:
            last_read = used
            yield {"core_seconds": used, "pictures": pictures, **read(recipe, noises)}
        if ended:
            return


def pace(words: argparse.Namespace, out: Path) -> dict[str, list[float]]:
    """Core-seconds of pieces of our loop, and of the least that they hold, in turns."""
    import torch

    from hw2.events import Row

    steps = words.floor_steps

    class Stepwise(Ours):
        def advance(self) -> int:
            while not isinstance(event := next(self.events), Row) or event.step % steps:
                pass
            return steps

    settings = [*words.ours, "--train.checkpoint_every", "1000000"]
    settings += ["--train.log_every", f"{math.gcd(steps, 10)}", "--train.num_steps", "1000000"]
    ours = Stepwise(argparse.Namespace(**{**vars(words), "ours": settings}), out)
    from hw2.models.digit_unet import build_digit_unet

    net, count = build_digit_unet(ours.config.network, 0), ours.config.train.batch_size
    net = net.to(ours.device)
    if ours.config.train.compile:
        net.compile(mode="reduce-overhead" if words.device == "cuda" else None)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-5, fused=True)
    xt, t = torch.randn(count, 3, 28, 28), torch.randint(0, 1000, (count,))
    told = torch.randint(0, 10, (count,)), torch.randint(0, 2, (count,))
    xt, t, *labels = (x.to(ours.device) for x in (xt, t, *told))
    gpu = words.device != "cpu"

    def bare() -> None:
        for _ in range(steps):
            if gpu:
                torch.compiler.cudagraph_mark_step_begin()
            with autocast(ours.device):
                answer = net(xt, t, *labels)
            answer.float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    def took(act: Any) -> Any:
        begin = seconds(words.device)
        act()
        return seconds(words.device) - begin

    ours.advance(), bare()
    sides = {"ours": lambda: took(ours.advance), "floor": lambda: took(bare)}
    found = in_turns(sides, words.rounds)
    return {side: [count * steps / s for s in values] for side, values in found.items()}


def one(side: str, words: argparse.Namespace) -> None:
    """Measure `side` in this process; each line of the output that is JSON is a finding."""
    import torch

    if words.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        if side == "floor":
            print(json.dumps(pace(words, out)), flush=True)
            return
        recipe = {"ours": Ours, "reference": Reference, "package": Package}[side](words, out)
        peer = side != "ours"
        every = words.core_seconds / words.reads if peer else words.every
        for row in train(recipe, words, every, words.peer_noises if peer else words.noises):
            print(json.dumps({"recipe": side, **row}), flush=True)


def summary(rows: list[dict[str, Any]], unit: str) -> list[dict[str, Any]]:
    """Of each recipe: pace, last reading, seconds to ENOUGH or more than it was given."""
    found = []
    for side in dict.fromkeys(row["recipe"] for row in rows):
        mine = [row for row in rows if row["recipe"] == side]
        last = mine[-1]
        reached = [row["core_seconds"] for row in mine if row["value"] >= ENOUGH]
        used = last["core_seconds"]
        limit = f"{reached[0]:.0f}" if reached else f"more than {used:.0f}"
        pace = {f"pictures/{unit}": last["pictures"] / used, unit: used}
        accuracy = {key: last[key] for key in ("value", "low", "high")}
        found.append({"recipe": side, **pace, f"{unit} to {ENOUGH:.0%}": limit, **accuracy})
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the sides one after the other and print how far each has come."""
    parser = arguments("training_peers", __doc__)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument(
        "--core_seconds", type=float, default=1200, help="of each recipe (GPU: seconds)"
    )
    parser.add_argument("--every", type=float, default=60, help="core-seconds to our next reading")
    parser.add_argument("--noises", type=int, default=10, help="pictures a class of a reading")
    parser.add_argument("--reads", type=int, default=2, help="readings of a peer")
    parser.add_argument("--peer_noises", type=int, default=5, help="pictures a class of those")
    parser.add_argument("--peer_steps", type=int, default=50, help="of DDIM, to draw with a peer")
    parser.add_argument("--rounds", type=int, default=5, help="of the floor")
    parser.add_argument("--floor_steps", type=int, default=5, help="of a round of the floor")
    add_device(parser)
    parser.add_argument("--width", type=int, default=128, help="of the reference network; 128-256")
    parser.add_argument("--config", type=Path, default=ROOT / "jobs/configs/demo.yaml")
    parser.add_argument("--ours", nargs="*", default=[], help="KEY VALUE .. over that config")
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    words = parser.parse_args(argv)
    refuse_no_gpu(parser, words.device)
    words.ours = [f"--{w}" if n % 2 == 0 else w for n, w in enumerate(words.ours)]
    words.data = words.data.absolute()
    if words.one:
        one(words.one, words)
        return
    rows: list[dict[str, Any]] = []
    floor: list[dict[str, Any]] = []
    for side in words.sides:
        command = [sys.executable, __file__, "--one", side, *(argv or sys.argv[1:])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("{"):
                told = json.loads(line)
                rows.append(told) if "recipe" in told else floor.append(told)
        assert process.wait() == 0
    table = summary(rows, unit(words.device))
    for told in floor:
        for name in ("ours", "floor"):
            table.append(
                {"recipe": f"pace: {name}, pictures/{unit(words.device)}", **spread(told[name])}
            )
        share = ratios(told["ours"], told["floor"])
        table.append({"recipe": "pace: ours / floor", **share})
    threads = 1 if words.device == "cpu" else None
    finish(words.json, {**vars(words), "readings": rows}, table, threads)


if __name__ == "__main__":
    main()
