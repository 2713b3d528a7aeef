"""What the benchmarks share: sides in turns, medians, the machine's name, a table and a JSON."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parents[1]


def arguments(name: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser headed by `doc`, with the place of the JSON."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    default = Path("outputs/bench") / f"{name}.json"
    parser.add_argument("--json", type=Path, default=default, help="where the results go")
    return parser


def machine() -> dict[str, Any]:
    """What a figure depends on, and nothing that says whose machine it was."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found: dict[str, Any] = {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`, cpu or cuda; `refuse_no_gpu` looks whether it is there."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


def refuse_no_gpu(parser: argparse.ArgumentParser, device: str) -> None:
    """Exit with code 2 and a line if `device` is a GPU that is not there."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("--device cuda: no GPU here: leave it out")


def seconds(device: str) -> float:
    """A clock: of this process on the cores or, on a GPU, of the wall once the GPU has no work."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def autocast(device: "torch.device") -> "torch.autocast":
    """The number format that our jobs choose there, so that all sides compute in the same."""
    import torch

    from hw2.precision import wants_bf16

    return torch.autocast(device.type, torch.bfloat16, enabled=wants_bf16("auto", device))


def unit(device: str) -> str:
    """What `seconds` counts."""
    return "core-s" if device == "cpu" else "GPU-s"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest, as `format_table` shows a "value"."""
    return {"value": statistics.median(values), "low": min(values), "high": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The spread of the quotients within each round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def in_turns(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """What each side returned in each round; every other round runs them backwards."""
    found: dict[str, list[Any]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(sides[name]())
            print(f"round {number + 1}, {name}: {found[name][-1]}", flush=True)
    return found


def journal_rows(out: Path) -> list[dict[str, Any]]:
    """The metric rows of a run, oldest first."""
    lines = (out / "journal.jsonl").read_text().splitlines()
    return [row for line in lines if (row := json.loads(line))["kind"] == "metrics"]


def finish(
    path: Path,
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    threads: int | None = None,
) -> None:
    """Print `rows` as a table and write them to `path`, with the settings and the machine.

    `threads` are those of the processes that were measured, if not of this one.
    """
    from hw2.data.files import write_json
    from hw2.metrics.table import format_table

    columns = list(dict.fromkeys(key for row in rows for key in row if key not in ("low", "high")))
    print(format_table(rows, columns))
    named = machine() | ({} if threads is None else {"threads": threads})
    print(", ".join(f"{key} {value}" for key, value in named.items()))
    told = {k: v for k, v in settings.items() if isinstance(v, int | float | str | list)}
    told |= {k: v.name for k, v in settings.items() if isinstance(v, Path)}  # not whose folder
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"machine": named, "settings": told, "rows": list(rows)})
