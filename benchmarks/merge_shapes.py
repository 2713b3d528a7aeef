"""Time and memory of merging concepts at the shapes of Stable Diffusion 1.4.

python benchmarks/merge_shapes.py --concepts 10 --rounds 5

16 layers of cross-attention, keys and values, from 768 to 320, 640 and 1280 channels. Features are
random, with the decaying spectrum and the large common part that a text encoder's have; weights are
random too. What is timed does not depend on the values. One thread; medians of the rounds with the
smallest and largest.
"""

import resource
from typing import Any

import torch
from frame import arguments, finish, in_turns, seconds, spread

from hw2.personalize.merge import MergeSystem

WIDTH = 768
# Down, middle and up blocks of CompVis/stable-diffusion-v1-4's denoiser.
CHANNELS = (320,) * 2 + (640,) * 2 + (1280,) * 2 + (1280,) + (1280,) * 3 + (640,) * 3 + (320,) * 3


def features(count: int, seed: int) -> torch.Tensor:
    """Float32 (count, 768): singular values fall by a thousand, around one common vector."""
    random = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -3, WIDTH)
    common = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    return torch.randn(count, WIDTH, generator=random) * scales + common


def main(argv: list[str] | None = None) -> None:
    """Merge, and read all weights, in turns; print core-seconds, peak memory, worst residual."""
    parser = arguments("merge_shapes", __doc__)
    parser.add_argument("--concepts", type=int, default=10)
    parser.add_argument("--targets", type=int, default=9, help="target features a concept")
    parser.add_argument("--captions", type=int, default=200, help="of regularisation")
    parser.add_argument("--tokens", type=int, default=12, help="a caption, start and end counted")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args(argv)
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(1)
    regular = features(words.captions * words.tokens, 2)
    targets = [features(words.targets, 3 + place) for place in range(words.concepts)]
    matrices = [
        (
            before := 0.03 * torch.randn(out, WIDTH, generator=random),
            [before + 0.003 * torch.randn(out, WIDTH, generator=random) for _ in targets],
        )
        for out in CHANNELS
        for _ in ("keys", "values")
    ]
    last: dict[str, Any] = {}

    def merge() -> dict[str, float]:
        start = seconds("cpu")
        system = MergeSystem(regular, torch.cat(targets))
        shared = seconds("cpu") - start
        results = [
            system.solve(before, torch.cat([c @ w.T for c, w in zip(targets, after, strict=True)]))
            for before, after in matrices
        ]
        last.update(system=system, results=results)
        return {"all": seconds("cpu") - start, "shared": shared}

    def read() -> dict[str, float]:
        start = seconds("cpu")
        for before, after in matrices:
            for weights in (before, *after):
                weights.sum()
        return {"all": seconds("cpu") - start}

    found = in_turns({"merge": merge, "read": read}, words.rounds)
    times = {
        "core-seconds": [one["all"] for one in found["merge"]],
        "core-seconds of it shared": [one["shared"] for one in found["merge"]],
        "core-seconds to read the weights once, the floor": [one["all"] for one in found["read"]],
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {
        "concepts": words.concepts,
        "matrices": len(matrices),
        "features kept": len(regular),
        "targets": words.concepts * words.targets,
        "targets independent": last["system"].rank,
        "peak, GiB, with the weights": peak,
        "worst residual (float32 weights)": max(one.residual for one in last["results"]),
        "condition of captions": last["results"][0].reg_condition,
        "ridge": last["results"][0].ridge,
    }
    rows: list[dict[str, Any]] = [
        {"figure": name, **spread(values)} for name, values in times.items()
    ]
    rows += [{"figure": name, "value": value} for name, value in figures.items()]
    finish(words.json, vars(words), rows)


if __name__ == "__main__":
    main()
