"""One trial: drawn chunk by chunk, scored at each rung, kept, and never drawn twice."""

import fcntl
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from hw2.data.arrays import read_arrays
from hw2.data.files import read_json, replacing, write_json
from hw2.disclosure import mask
from hw2.errors import Hw2Error
from hw2.figures.files import write_atomic
from hw2.metrics.intervals import Interval
from hw2.metrics.jackknife import Estimate, Found, interval_of
from hw2.runlog.environment import code_hash
from hw2.sweeps.space import Point, key_of

Arrays = dict[str, np.ndarray]
Scores = dict[str, Found]
OfTrial = Callable[[Point], Arrays]
CHUNK = 5  # samples drawn at once, whatever the rungs: their number moves the last bits
MAX_BYTES = 2**31  # of arrays that a trial keeps: more is not ours
# What reading a file raises that is not as a trial keeps it; overflow: of a number without end.
NOT_OURS = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
RESULT, OUTCOMES, SHEET = "result.json", "outcomes.npz", "sheet.png"


@runtime_checkable
class Work(Protocol):
    """What a trial does; made once in each process, with the model loaded."""

    def draw(self, point: Point, samples: range, of_trial: "OfTrial") -> Arrays:
        """Pictures and what belongs to them, for the starting noises `samples`.

        `of_trial(other)` is what the trial at another point draws from the same noises; it is
        drawn once, whoever asks. All arrays have a row a sample, or none.
        """

    def score(self, point: Point, drawn: Arrays) -> tuple[Scores, Arrays]:
        """Scores of all that was drawn, and outcomes (n,) of the noises, whose means are compared.

        Scores that are an Estimate are compared in pairs too.
        """

    def sheet(self, point: Point, drawn: Arrays) -> Image.Image:
        """A picture to look at."""


@dataclass(frozen=True)
class Report:
    """The scores of a trial after `samples` noises."""

    samples: int
    scores: dict[str, Interval]


@dataclass(frozen=True)
class TrialResult:
    """All that is known of a trial, as its folder keeps it.

    `error` is the last line of what ended it, "" if nothing did; `trace` the whole of it. `code` is
    the `code_hash` of what took the scores, "" where that was not kept.
    `outcomes` are what is compared in pairs: (n,) of the noises, or an Estimate's table (2, moves).
    """

    point: Point
    folder: Path
    reports: tuple[Report, ...] = ()
    seconds: float = 0.0
    error: str = ""
    trace: str = ""
    outcomes: Arrays = field(default_factory=dict)
    code: str = ""

    @property
    def scores(self) -> dict[str, Interval]:
        """The scores of the last report."""
        return self.reports[-1].scores if self.reports else {}

    @property
    def samples(self) -> int:
        """How many noises the last report is of."""
        return self.reports[-1].samples if self.reports else 0


def name_of(point: Point) -> str:
    """The name in OUT of what is kept of the trial at `point`: its settings alone decide it."""
    return f"trials/{key_of(point)}"


def trial_folder(out: Path, point: Point) -> Path:
    """Where the trial at `point` is kept."""
    return out / name_of(point)


def read_trial(out: Path, point: Point) -> TrialResult:
    """The trial at `point` as far as `out` has it; one without reports if it was not begun."""
    folder = trial_folder(out, point)
    try:
        kept = read_json(folder / RESULT)
        reports = tuple(
            Report(int(report["samples"]), {k: _interval(v) for k, v in report["scores"].items()})
            for report in kept["reports"]
        )
        seconds, error, trace = float(kept["seconds"]), str(kept["error"]), str(kept["trace"])
        code = str(kept.get("code", ""))
    except NOT_OURS:  # or not begun
        return TrialResult(point, folder)
    outcomes = kept_arrays(folder / OUTCOMES)
    if outcomes is None:  # its pictures are scored again
        return TrialResult(point, folder, (), seconds, error, trace)
    return TrialResult(point, folder, reports, seconds, error, trace, outcomes, code)


def _interval(values: Mapping[str, float | None]) -> Interval:
    return Interval(**{k: float("nan") if v is None else float(v) for k, v in values.items()})


def run_trial(
    work: Work,
    out: Path,
    point: Point,
    rungs: Sequence[int],
    fetch: Callable[[Point], object] = lambda other: None,
) -> Iterator[Report]:
    """Draw and score the trial at `point` up to each of `rungs`, or tell what is kept of it.

    Yields a Report a rung. A chunk that was drawn, and a rung that was scored, is read, not done
    again; but behind a rung that is new, all are scored anew, and so are those that other code has
    scored: it may do it in another way. Files appear whole or not at all.
    `fetch(other)` brings to `out` what is kept elsewhere of another trial that this one draws on.
    """
    kept = read_trial(out, point)
    folder = kept.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "point.json", point)
    code = code_hash()
    reports = {report.samples: report for report in kept.reports if kept.code == code}
    missing = [rung for rung in rungs if rung not in reports]
    if missing or kept.samples > rungs[-1]:  # outcomes and sheet are to be of the last report
        first = missing[0] if missing else rungs[-1]
        reports = {samples: reports[samples] for samples in reports if samples < first}
    seconds = kept.seconds
    if kept.error or len(reports) < len(kept.reports):
        _keep(folder, code, list(reports.values()), seconds)  # tried again: the old error is over
    for rung in rungs:
        if rung not in reports:
            began = time.monotonic()
            chunks = [_chunk(work, out, point, first, fetch) for first in range(0, rung, CHUNK)]
            drawn = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
            drawn = cut(drawn, rung, len(chunks) * CHUNK)
            scores, outcomes = work.score(point, drawn)
            reports[rung] = Report(rung, {k: interval_of(found) for k, found in scores.items()})
            seconds += time.monotonic() - began
            write_atomic(folder / SHEET, work.sheet(point, drawn))
            estimates = {k: found for k, found in scores.items() if isinstance(found, Estimate)}
            tables = {name: estimate.table().numpy() for name, estimate in estimates.items()}
            _keep_arrays(folder / OUTCOMES, outcomes | tables)
            _keep(folder, code, list(reports.values()), seconds)
        yield reports[rung]


def fail_trial(out: Path, point: Point, error: BaseException | str) -> None:
    """Keep why the trial at `point` failed; what it has drawn and scored stays."""
    kept = read_trial(out, point)
    if isinstance(error, str):
        line, trace = error.strip().splitlines()[-1], error
    else:
        told = isinstance(error, Hw2Error)
        line = str(error) if told else f"{type(error).__name__}: {error}"
        trace = "" if told else "".join(traceback.format_exception(error))
    kept.folder.mkdir(parents=True, exist_ok=True)
    line, trace = mask(" ".join(line.split())), mask(trace)
    _keep(kept.folder, kept.code, kept.reports, kept.seconds, line, trace)


def cut(drawn: Arrays, samples: int, drawn_samples: int) -> Arrays:
    """The first `samples` of `drawn_samples`; arrays of another length than these stay whole."""
    return {k: v[:samples] if len(v) == drawn_samples else v for k, v in drawn.items()}


def _chunk(
    work: Work, out: Path, point: Point, first: int, fetch: Callable[[Point], object]
) -> Arrays:
    """The samples from `first` on of the trial at `point`: drawn by the first who wants them."""
    path = _chunk_file(out, point, first)
    if (kept := kept_arrays(path)) is not None:
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (kept := kept_arrays(path)) is None:

            def of_trial(other: Point) -> Arrays:
                if not _chunk_file(out, other, first).exists():
                    fetch(other)
                return _chunk(work, out, other, first, fetch)

            kept = work.draw(point, range(first, first + CHUNK), of_trial)
            _keep_arrays(path, kept)
    path.with_suffix(".lock").unlink(missing_ok=True)
    return kept


def _chunk_file(out: Path, point: Point, first: int) -> Path:
    return trial_folder(out, point) / f"chunk_{first:06d}.npz"


def kept_arrays(path: Path) -> Arrays | None:
    """The arrays of `path`; None if it is not there, or torn."""
    try:
        return read_arrays(path, MAX_BYTES)
    except (OSError, ValueError):
        return None


def _keep_arrays(path: Path, arrays: Arrays) -> None:
    with replacing(path) as passing, passing.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _keep(
    folder: Path,
    code: str,
    reports: Sequence[Report],
    seconds: float,
    error: str = "",
    trace: str = "",
) -> None:
    rows = [
        {"samples": r.samples, "scores": {k: v.to_json() for k, v in r.scores.items()}}
        for r in reports
    ]
    told: dict[str, Any] = {"seconds": seconds, "error": error, "trace": trace, "code": code}
    write_json(folder / RESULT, {"reports": rows} | told)
