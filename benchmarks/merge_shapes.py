"""Time and memory of merging concepts at the shapes of Stable Diffusion 1.4.

python benchmarks/merge_shapes.py --concepts 10

16 layers of cross-attention, keys and values, from 768 to 320, 640 and 1280 channels. Features are
random, with the decaying spectrum and the large common part that a text encoder's have; weights are
random too. What is timed does not depend on the values.
"""

import resource
import time

import torch
from frame import arguments, finish

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
    """Merge once and print seconds, peak memory and the worst residual."""
    parser = arguments("merge_shapes", __doc__)
    parser.add_argument("--concepts", type=int, default=10)
    parser.add_argument("--targets", type=int, default=9, help="target features a concept")
    parser.add_argument("--captions", type=int, default=200, help="of regularisation")
    parser.add_argument("--tokens", type=int, default=12, help="a caption, start and end counted")
    words = parser.parse_args(argv)
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
    start, used = time.perf_counter(), time.process_time()
    system = MergeSystem(regular, torch.cat(targets))
    shared = time.perf_counter() - start
    results = [
        system.solve(before, torch.cat([c @ own.T for c, own in zip(targets, after, strict=True)]))
        for before, after in matrices
    ]
    seconds, used = time.perf_counter() - start, time.process_time() - used
    start = time.process_time()
    for before, after in matrices:
        for weights in (before, *after):
            weights.sum()
    floor = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {
        "concepts": words.concepts,
        "matrices": len(matrices),
        "features kept": len(regular),
        "targets": words.concepts * words.targets,
        "targets independent": system.rank,
        "seconds": seconds,
        "seconds of it shared": shared,
        "core-seconds": used,
        "core-seconds to read the weights once, the floor": floor,
        "peak, GiB, with the weights": peak,
        "worst residual (float32 weights)": max(result.residual for result in results),
        "condition of captions": results[0].reg_condition,
        "ridge": results[0].ridge,
    }
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    finish(words.json, vars(words), rows)


if __name__ == "__main__":
    main()
