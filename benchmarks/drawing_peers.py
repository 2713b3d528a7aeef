"""Guided digits from one network by our sampler and others': network calls, core-seconds, accuracy.

python benchmarks/drawing_peers.py --pictures 1000 --slow_pictures 100

All sides draw with asset:digits at w=2, on one thread, in batches of 50 pictures (five of each
digit of a domain), in turns; slow sides draw fewer batches. Core-seconds of 1000 pictures are the
median batch times their number, after a batch that does not count; with --device cuda it is seconds
of the GPU. All compute in bfloat16 where the machine multiplies it natively. `times ours` is the
median of the ratios within a round, with the smallest and largest. asset:judge reads accuracy, and
diversity as a share of the real pictures'. `lost` is a side's accuracy below that of the 400 steps
from the same starting noises, in points (Newcombe 1998, pairs; pictures taken for independent).

  ours             the defaults of jobs.sample_digits: DDIM, 25 steps, guidance from 0.4 to 0.7 of T
  ours, noisier    the same with guidance in the noisier 35 %
  ours, everywhere the same in 20 steps, guidance in all of them
  ours, dpmpp      DPM-Solver++ in 12 steps, guidance in all of them
  ancestral        400 steps of diffusers' DDPMScheduler, the batch doubled, as students draw
  diffusers DDIM   its DDIMScheduler in 25 steps with use_clipped_model_output, as ours has it
  .. by default    the same in 50 steps without that word, as its pipelines call it
  diffusers DPM    its DPMSolverMultistepScheduler in 20 steps
  package          the sampler of denoising-diffusion-pytorch in 50 steps (cond_scale 3)

Then our loop against its floor: the same network calls alone, in pairs.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from drawing_samplers import Draw, ours, package, pipeline
from frame import (
    add_device,
    arguments,
    autocast,
    finish,
    in_turns,
    ratios,
    refuse_no_gpu,
    seconds,
    unit,
)
from torch import Tensor

from hw2.data.digits import read_digits
from hw2.digits.drawing import DigitModel, draw, load_digit_model
from hw2.digits.judging import JUDGE_SIZE, judge_pictures, load_judge
from hw2.domains import DIGITS, DOMAINS
from hw2.locate import find_model
from hw2.metrics.digit_metrics import JudgedPictures
from hw2.metrics.digit_scores import score_digits
from hw2.metrics.intervals import Interval
from hw2.metrics.paired import mcnemar
from hw2.models.judge import Judge
from hw2.settings.data import DataConfig
from hw2.settings.digits import SampleSettings

EVERYWHERE = SampleSettings(guidance_interval=(0.0, 1.0))
NOISIER = SampleSettings(guidance_interval=(0.65, 1.0))
CLIPPED = {"use_clipped_model_output": True}
FAST = ("diffusers DDIM", "diffusers DPM")


def timed(act: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds that `act` took, and what it returned."""
    begin = seconds(device.type)
    with torch.no_grad(), autocast(device):
        found = act()
    return seconds(device.type) - begin, found


def judged(pictures: list[Tensor], judge: Judge) -> JudgedPictures:
    """What is read on batches drawn for the domains in turn."""
    batch, count = len(pictures[0]), len(pictures)
    digits = torch.tensor(DIGITS).repeat_interleave(batch // len(DIGITS)).repeat(count)
    domains = torch.arange(count).remainder(len(DOMAINS)).repeat_interleave(batch)
    return judge_pictures(judge, torch.cat(pictures), digits, domains)


def lost(mine: JudgedPictures, theirs: JudgedPictures) -> str:
    """Points of accuracy that `mine` is below `theirs`, on the pictures that both have."""
    first = min(len(mine), len(theirs))
    right = [(one.predictions == one.digits)[:first] for one in (mine, theirs)]
    return f"{mcnemar(*right).difference.in_points():.2f}"


def against_floor(model: DigitModel, noises: int, pairs: int) -> dict[str, float]:
    """Our loop's time over that of the network calls it makes, alone."""
    device = model.device
    settings, total = SampleSettings(), model.schedule.num_train_timesteps
    sizes: list[int] = []

    net = model.net
    hook = net.register_forward_pre_hook(lambda _, told: sizes.append(len(told[0])))
    draw(model, settings, domain=0, indices=range(noises), seed=0)
    hook.remove()
    told = {
        n: [
            x.to(device)
            for x in (
                torch.randn(n, 3, 28, 28),
                torch.full((n,), total // 2),
                torch.zeros(n).long(),
            )
        ]
        for n in set(sizes)
    }

    def bare() -> float:
        return timed(lambda: [net(*told[n], told[n][2]) for n in sizes], device)[0]

    def whole() -> float:
        act = lambda: draw(model, settings, domain=0, indices=range(noises), seed=0)  # noqa: E731
        return timed(act, device)[0]

    found = in_turns({"loop": whole, "calls": bare}, pairs)
    return ratios(found["loop"], found["calls"])


def main(argv: list[str] | None = None) -> None:
    """Draw in turns, judge, and print a line a side."""
    parser = arguments("drawing_peers", __doc__)
    parser.add_argument("--pictures", type=int, default=1000, help="of ours and the fast solver")
    parser.add_argument("--slow_pictures", type=int, default=100, help="of the others")
    parser.add_argument("--noises", type=int, default=5, help="pictures of each digit in a batch")
    parser.add_argument("--pairs", type=int, default=9, help="of our loop and its calls")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the steps (tests)")
    parser.add_argument("--data", type=Path, default=Path("hw2_data"), help="the real pictures")
    parser.add_argument("--model", default="asset:digits", help="as of jobs.sample_digits")
    add_device(parser)
    words = parser.parse_args(argv)
    refuse_no_gpu(parser, words.device)
    device = torch.device(words.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    model = load_digit_model(find_model(words.model)).to(device)
    batch = words.noises * len(DIGITS)

    def some(steps: int) -> int:
        return max(2, round(steps * words.steps))

    def mine(settings: SampleSettings, **more: Any) -> Draw:
        steps = more.pop("num_inference_steps", settings.num_inference_steps)
        return ours(model, settings.model_copy(update={"num_inference_steps": some(steps), **more}))

    sides: dict[str, Draw] = {
        "ours": mine(SampleSettings()),
        "ours, noisier": mine(NOISIER),
        "ours, everywhere": mine(EVERYWHERE, num_inference_steps=20),
        "ours, dpmpp": mine(EVERYWHERE, sampler="dpmpp", num_inference_steps=12),
        "ancestral": pipeline(model, "DDPMScheduler", some(400), clip_sample=True),
        "diffusers DDIM": pipeline(model, "DDIMScheduler", some(25), CLIPPED, clip_sample=True),
        ".. by default": pipeline(model, "DDIMScheduler", some(50), clip_sample=True),
        "diffusers DPM": pipeline(model, "DPMSolverMultistepScheduler", some(20)),
        "package": package(model, some(50)),
    }
    fast = {side for side in sides if side.startswith("ours") or side in FAST}
    wanted = {side: words.pictures if side in fast else words.slow_pictures for side in sides}
    batches = {side: max(2, count // batch) for side, count in wanted.items()}
    for act in sides.values():
        timed(lambda: act(0, range(words.noises)), device)  # noqa: B023
    found: dict[str, list[tuple[float, Tensor, int]]] = {side: [] for side in sides}
    for number in range(max(batches.values())):
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            if number < batches[side]:
                first = number // len(DOMAINS) * words.noises
                indices, domain = range(first, first + words.noises), number % len(DOMAINS)
                took, (images, calls) = timed(lambda: sides[side](domain, indices), device)  # noqa: B023
                found[side].append((took, images, calls))
                print(f"batch {number + 1}, {side}: {took:.2f} {unit(words.device)}", flush=True)
    held = read_digits(DataConfig(root=words.data), "val", JUDGE_SIZE)
    judge = load_judge(find_model("asset:judge")).to(device)
    real = judge_pictures(judge, held.images, held.digits, held.domains)
    rows = []
    read = {side: judged([one[1] for one in of], judge) for side, of in found.items()}
    takes = {side: [one[0] for one in of] for side, of in found.items()}
    for side, batches_of in found.items():
        both = min(batches[side], batches["ours"])
        times = ratios(takes[side][:both], takes["ours"][:both])
        scores = score_digits(read[side], real)
        rows.append(
            {
                "side": side,
                "calls a picture": batches_of[0][2],
                f"{unit(words.device)} for 1000": statistics.median(takes[side]) * 1000 / batch,
                "times ours": f"{Interval(**times):.2f}",
                "pictures": len(read[side]),
                "diversity": f"{scores.get('diversity'):.0%}",
                "lost, points": lost(read[side], read["ancestral"]),
                **vars(scores.get("accuracy")),
            }
        )
    rows.append(
        {"side": "our loop / its network calls", **against_floor(model, words.noises, words.pairs)}
    )
    finish(words.json, vars(words), rows)


if __name__ == "__main__":
    main()
