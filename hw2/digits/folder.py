"""Drawing the course's digit folders: what is to draw, what is there, what is written."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hw2.data.drawn import read_made
from hw2.data.files import read_mapping, sha256_of, write_json
from hw2.data.layout import shown_name
from hw2.digits.drawing import draw, load_digit_model
from hw2.disclosure import warn
from hw2.domains import DIGITS, DOMAINS
from hw2.figures.files import write_atomic
from hw2.figures.grid import animation, sheet, to_pil
from hw2.pieces import MakeWork, Piece, Pool, Work
from hw2.progress import progress
from hw2.settings.digits import SampleDigitsConfig
from hw2.weights import refuse_replaced

STRIP_LENGTH = 6
REVERSE = "reverse"  # folder in OUT of single states
COST, CALLS = "drawing.json", "eval/network_calls"


def picture_path(out: Path, domain: str, digit: int, index: int) -> Path:
    """Where picture `index` (from 1) of a digit goes, in the course's names."""
    return out / domain / f"{digit}_{index:03d}.png"


def reverse_paths(out: Path, domain: str) -> tuple[Path, Path]:
    """Where the reverse process of a domain's first picture goes: the strip and the GIF."""
    figures = out / "figures"
    return figures / f"{domain}_reverse.png", figures / f"{domain}_reverse.gif"


def pieces_to_draw(config: SampleDigitsConfig, out: Path) -> tuple[list[Piece], int]:
    """The chunks that are not wholly in `out`, and how many pictures are.

    A chunk is a domain and `indices_per_chunk` indices, always in full, so that a picture's bytes
    do not depend on how many are wanted.
    """
    size, pieces, done = config.indices_per_chunk, [], 0
    for domain in config.domains:
        for first in range(1, config.num_per_class + 1, size):
            wanted = range(first, min(first + size, config.num_per_class + 1))
            paths = [picture_path(out, domain, d, i) for d in DIGITS for i in wanted]
            with_first = first > 1 or _has_first(config, out, domain)
            if with_first and all(path.is_file() for path in paths):
                done += len(wanted) * len(DIGITS)
            else:
                pieces.append({"domain": domain, "first": first, "wanted": len(wanted)})
    return pieces, done


def _has_first(config: SampleDigitsConfig, out: Path, domain: str) -> bool:
    """Whether what comes with a domain's first chunk is there: the reverse process, the cost."""
    states = len(list((out / REVERSE).glob(f"{domain}_t*.png")))
    wanted = len(config.strip_timesteps) if config.strip_timesteps else 1
    drawn = all(path.is_file() for path in reverse_paths(out, domain))
    return drawn and states >= wanted and bool(read_cost(out))


def read_cost(out: Path) -> dict[str, int]:
    """What a picture of `out` has cost; {} if that is not kept, or not as we write it."""
    calls = read_mapping(out / COST, absent=OSError).get(CALLS)
    return {CALLS: calls} if type(calls) is int else {}


def make_worker(config: SampleDigitsConfig, weights: Path) -> MakeWork:
    """What an actor does: load the model once, then draw chunks.

    CheckpointError there if `weights` are no longer what they are now.
    """
    known = sha256_of(weights)

    def make(on_gpu: bool) -> Work:
        model = load_digit_model(weights, config.averaged).to(
            torch.device("cuda" if on_gpu else "cpu")
        )
        refuse_replaced(weights, known)

        def work(piece: Piece) -> Piece:
            indices = range(piece["first"], piece["first"] + config.indices_per_chunk)
            domain = DOMAINS.index(piece["domain"])
            drawn = draw(model, config.sample, domain=domain, indices=indices, seed=config.seed)
            result = {k: np.asarray(v) for k, v in asdict(drawn).items()}
            if piece["first"] != 1:
                del result["frames"], result["frame_levels"]
            return {**piece, **result}

        return work

    return make


def write_pieces(results: Iterable[Piece], out: Path, config: SampleDigitsConfig) -> Iterator[int]:
    """Write each result's pictures; yields how many it had. Files appear whole or not at all."""
    for result in results:
        images = torch.from_numpy(np.array(result["images"]))
        for digit in DIGITS:
            for offset, picture in enumerate(to_pil(images[digit, : result["wanted"]])):
                index = int(result["first"]) + offset
                write_atomic(picture_path(out, result["domain"], digit, index), picture)
        if result.get("frames") is not None:
            write_json(out / COST, {CALLS: int(result["num_network_calls"])})
            _write_reverse(result, out, config)
        yield int(result["wanted"]) * len(DIGITS)


def draw_missing(config: SampleDigitsConfig, make: MakeWork, out: Path, pool: Pool) -> None:
    """Draw by `pool` what is not in `out` yet; `make` is that of `make_worker`."""
    size, wanted = config.indices_per_chunk, config.num_per_class
    if size > max(wanted, type(config).model_fields["indices_per_chunk"].default):
        warn(f"indices_per_chunk={size}: {size} of each digit are drawn for num_per_class={wanted}")
    pieces, done = pieces_to_draw(config, out)
    total = config.num_per_class * len(DIGITS) * len(config.domains)
    with progress(total, "drawing", "pictures", done) as bar:
        results = pool(make, pieces, config.scaling)
        for count in write_pieces(results, out, config):
            bar.advance(count)


def _write_reverse(result: Piece, out: Path, config: SampleDigitsConfig) -> None:
    frames = torch.from_numpy(np.array(result["frames"]))
    levels = [int(level) for level in result["frame_levels"]]
    # Fewer states than the strip is long are shown once each.
    even = np.unique(np.linspace(0, len(frames) - 1, STRIP_LENGTH).round().astype(int))
    chosen = [levels.index(t) for t in config.strip_timesteps or [levels[i] for i in even]]
    domain = result["domain"]
    strip_path, gif_path = reverse_paths(out, domain)
    # Each state also by itself, without label or enlargement.
    for i, picture in zip(chosen, to_pil(frames[chosen]), strict=True):
        write_atomic(out / REVERSE / f"{domain}_t{levels[i]:04d}.png", picture)
    labels = [f"t = {levels[i]}" for i in chosen]
    title = f"{shown_name(config.data.root, domain)}: reverse process of the first 0"
    write_atomic(strip_path, sheet(frames[chosen][None], None, labels, title, scale=4))
    write_atomic(gif_path, animation(frames))


def _names(config: SampleDigitsConfig) -> Iterator[tuple[str, int, int]]:
    return itertools.product(config.domains, DIGITS, range(1, config.num_per_class + 1))


def drawn_paths(out: Path, config: SampleDigitsConfig) -> list[Path]:
    """The pictures of `out`, domain by domain and digit by digit."""
    return [picture_path(out, *name) for name in _names(config)]


def read_drawn(out: Path, config: SampleDigitsConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The pictures of `out` as uint8 (n, 3, h, w), with their digits (n,) and domains (n,).

    Raises DataError for one that was spoilt since it was drawn.
    """
    names = list(_names(config))
    return (
        read_made(drawn_paths(out, config)),
        torch.tensor([digit for _, digit, _ in names]),
        torch.tensor([DOMAINS.index(domain) for domain, _, _ in names]),
    )


def write_sheets(images: Tensor, out: Path, config: SampleDigitsConfig) -> list[Path]:
    """A sheet for each domain: rows are digits, columns noises; at most ten of them."""
    columns = min(10, config.num_per_class)
    paths = []
    by_class = images.unflatten(0, (len(config.domains), len(DIGITS), config.num_per_class))
    for domain, pictures in zip(config.domains, by_class, strict=True):
        title = f"{shown_name(config.data.root, domain)}, w={config.guidance_weight:g}, "
        title += f"{config.sampler} {config.num_inference_steps} steps"
        labels = [f"{index:03d}" for index in range(1, columns + 1)]
        paths.append(out / "figures" / f"{domain}_sheet.png")
        write_atomic(paths[-1], sheet(pictures[:, :columns], DIGITS, labels, title))
    return paths
