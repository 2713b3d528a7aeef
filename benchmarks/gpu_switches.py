"""What each switch is worth on a GPU, and the whole of problem 1 there. Without Ray.

python benchmarks/gpu_switches.py --data hw2_data

bf16, channels_last (of the weights; the network's input always is), compile and its CUDA graphs
over the plain float32 network of asset:digits, alone and together, in turns: pictures a second of a
drawing call and of a training step. Then jobs.train_ddpm at full size and 1000 pictures, as
commands.
"""

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from frame import ROOT, arguments, finish, in_turns, ratios, seconds, spread
from torch import nn

SWITCHES = (
    *("bf16", "channels_last", "compile"),
    *("bf16+channels_last", "bf16+compile", "bf16+compile+cuda_graphs"),
)
WARMUP = 4


def inputs(count: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """What the network is called with."""
    t, digit, domain = torch.randint(0, 1000, (count,)), torch.zeros(count), torch.ones(count)
    told = torch.randn(count, 3, 28, 28), t, digit.long(), domain.long()
    return tuple(x.to(device) for x in told)


def switched(net: nn.Module, switch: str, told: Sequence[torch.Tensor]) -> Callable[[bool], None]:
    """One call of a copy of `net` with what `switch` joins on, and a step of its parameters."""
    on, net = switch.split("+"), copy.deepcopy(net)
    if "channels_last" in on:
        net = net.to(memory_format=torch.channels_last)
    if "compile" in on:
        net.compile(mode="reduce-overhead" if "cuda_graphs" in on else "default")
    optimizer = torch.optim.AdamW(net.parameters(), 1e-5, fused=True)

    def act(train: bool) -> None:
        if "cuda_graphs" in on:
            torch.compiler.cudagraph_mark_step_begin()  # imports the compiler
        with torch.autocast(told[0].device.type, torch.bfloat16, enabled="bf16" in on):
            answer = net(*told)
        if train:
            answer.float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    return act


def pictures_per_second(
    act: Callable[[bool], None], train: bool, count: int, calls: int, device: torch.device
) -> float:
    """Of `calls` calls with `count` pictures, the device waited for."""
    begin = seconds(device.type)
    with torch.set_grad_enabled(train):
        for _ in range(calls):
            act(train)
    return count * calls / (seconds(device.type) - begin)


def measure(
    net: nn.Module,
    switches: Sequence[str],
    device: torch.device,
    count: int,
    calls: int,
    rounds: int,
) -> list[dict[str, Any]]:
    """Rows for drawing and training: each switch's pictures a second, and its ratio to none."""
    told, rows = inputs(count, device), []
    for train in (False, True):
        sides = {}
        for name in ("plain", *switches):
            act = switched(net, name, told)
            with torch.set_grad_enabled(train):
                for _ in range(WARMUP):
                    act(train)  # compiles, captures
            sides[name] = lambda act=act, train=train: pictures_per_second(
                act, train, count, calls, device
            )
        found = in_turns(sides, rounds)
        for name, values in found.items():
            worth = ratios(values, found["plain"])["value"]
            what = "training step" if train else "drawing call"
            told_of = {"what": what, "batch": count, "switch": name, "times plain": worth}
            rows.append({**told_of, **spread(values)})
    return rows


def command_seconds(*words: str) -> float:
    """Wall-clock of a whole job."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - begin


def main(argv: list[str] | None = None) -> int:
    """Measure on the GPU; 2 and one line without one."""
    parser = arguments("gpu_switches", __doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--jobs", type=int, choices=(0, 1), default=1, help="0: no commands")
    parser.add_argument("--calls", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", type=Path, default=Path("hw2_data"))
    words = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("error: no GPU here: run this where torch.cuda.is_available()", file=sys.stderr)
        return 2
    from hw2.digits.drawing import load_digit_model
    from hw2.locate import find_model

    device = torch.device("cuda")
    net = load_digit_model(find_model("asset:digits")).net.to(device).train()
    rows = []
    for batch in words.batch:
        rows += measure(net, SWITCHES, device, batch, words.calls, words.rounds)
    with tempfile.TemporaryDirectory() as folder:
        common = ["--scaling.num_workers", "0", "--scaling.use_gpu", "true"]
        common += ["--data.root", str(words.data.absolute())]
        for job, more in (
            ("jobs.train_ddpm", ["--config", "jobs/configs/train_ddpm.yaml"]),
            ("jobs.sample_digits", ["--num_per_class", "50"]),
        )[: 2 * words.jobs]:
            took = command_seconds(job, *more, *common, "--out", f"{folder}/{job}")
            rows.append({"what": f"python -m {job}, seconds", "value": took})
    finish(words.json, vars(words), rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
