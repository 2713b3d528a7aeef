"""A tiny training that is disturbed again and again, and what its journal tells of that."""

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hw2.runlog.entries import Entry, read_entries
from tests.chaos.ready import Forked
from tests.jobs.bare import SETTINGS, STEPS
from tests.jobs.command import ROOT, Folder, as_words, bits, descendants, last_step, send

CHECKPOINT_EVERY = SETTINGS["checkpoint_every"]
PATIENCE = 600.0  # seconds for whatever must happen: a failed test, not a promise


@dataclass(frozen=True)
class Point:
    """One disturbance and what followed: steps computed again, seconds until training went on."""

    fault: str
    moment: str
    repeated: int
    seconds: float
    torn: bool  # it left half a checkpoint behind


@dataclass(frozen=True)
class _Strike:
    fault: str
    moment: str
    torn: bool
    time_ms: float  # of the blow, or of the process that was started after it
    restarted: bool


def undisturbed(path: Path, tree: Path, workers: int) -> Path:
    """The same training by bare processes, without Ray and never interrupted."""
    subprocess.run(
        [sys.executable, "-m", "tests.jobs.bare", str(workers), tree, path], check=True, cwd=ROOT
    )
    return path


@dataclass
class Disturbed:
    """A training of `tests.jobs.bare`'s size in `folder`; `workers` 0 is without Ray."""

    folder: Folder
    tree: Path
    workers: int
    want: Path  # what `undisturbed` made
    draw: Random
    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.out = self.folder.path / "out"
        self.log = self.folder.path / "log"
        self._strikes: list[_Strike] = []
        self.job: subprocess.Popen[str] | Forked

    def start(self) -> None:
        """The command, the same each time."""
        settings = {f"train.{key}": value for key, value in SETTINGS.items()}
        settings |= {"out": "out", "data.root": self.tree, "scaling.num_workers": self.workers}
        settings |= self.settings
        words = as_words(settings)
        if self.workers == 0:
            self.job = Forked("train_judge", words, self.folder.path, self.log, self.variables)
        else:
            with self.log.open("a") as log:
                self.job = self.folder.start("train_judge", *words, log=log, **self.variables)

    def say(self) -> str:
        """All that the commands have said."""
        return self.log.read_text()

    def entries(self) -> list[Entry]:
        """The journal."""
        path = self.out / "journal.jsonl"
        return [entry for entry, _ in read_entries(path) if entry] if path.exists() else []

    def step(self) -> int:
        """The newest step that has a row."""
        return last_step(self.out / "journal.jsonl")

    def starts(self) -> list[tuple[int, int]]:
        """(step after which it began, workers), each time that the training began or went on."""
        return [_start(entry) for entry in self.entries() if is_start(entry)]

    def wait(self, what: str, done: Callable[[], bool], pause: float = 0.005) -> None:
        """Until `done()`; the job must not end before."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert self.job.poll() is None, f"ended before {what}:\n{self.say()}"
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.say()}"
            time.sleep(pause)

    def wait_for_starts(self, count: int) -> None:
        """Until training has begun or gone on `count` times."""
        self.wait(f"start {count}", lambda: len(self.starts()) >= count, 0.05)

    def wait_for_moment(self, last: int) -> str:
        """Until a random moment, in a step or in the writing of a checkpoint, up to step `last`."""
        low = self.step() + 1
        step = self.draw.randint(low, max(low, last))
        written, parts = self.draw.random() < 0.5, self.out / "checkpoints"
        if written:
            step += -step % CHECKPOINT_EVERY
        self.wait(f"step {step}", lambda: self.step() >= step)
        if not written:
            time.sleep(self.draw.random() * 0.05)
            return f"step {step}"
        deadline = time.monotonic() + 0.5
        while not list(parts.glob(".part-*")) and time.monotonic() < deadline:
            pass
        time.sleep(self.draw.random() * 0.02)
        return f"writing checkpoint {step}"

    def struck(self, fault: str, moment: str, restart: bool) -> None:
        """Note a blow that was just dealt; with `restart`, start the command again."""
        if restart:
            self.job.kill()
            self.job.wait()
        torn = bool(list((self.out / "checkpoints").glob(".part-*")))
        self._strikes.append(_Strike(fault, moment, torn, time.time() * 1000, restart))
        if restart:
            self.start()

    def workers_alive(self) -> list[int]:
        """Processes of Ray Train's workers that this job has started."""
        family = descendants(self.job.pid).items()
        return sorted(pid for pid, title in family if "RayTrainWorker" in title)

    def finish(self) -> list[Point]:
        """Wait for the end, assert that nothing was lost, and tell what it cost."""
        code = self.job.wait(PATIENCE)
        assert code == 0, self.say()
        assert bits(self.out) == bits(self.want)
        assert not list((self.out / "checkpoints").glob(".part-*"))
        assert_rows_once(self)
        return self.points()

    def points(self) -> list[Point]:
        """The blows, as the journal tells of them."""
        return [self._point(strike) for strike in self._strikes]

    def _point(self, strike: _Strike) -> Point:
        seen = 0
        for entry in self.entries():
            if entry.kind == "metrics":
                seen = max(seen, entry.step)
            elif is_start(entry) and entry.time_ms >= strike.time_ms:
                begun, _ = _start(entry)
                seconds = (entry.time_ms - strike.time_ms) / 1000
                return Point(strike.fault, strike.moment, seen - begun, seconds, strike.torn)
        # All steps were done: what was left was no training.
        return Point(strike.fault, strike.moment, 0, 0.0, strike.torn)

    def close(self) -> None:
        """End what is left of the job."""
        family = descendants(self.job.pid)
        self.job.kill()
        self.job.wait()
        for pid in family:
            send(pid, signal.SIGKILL)


def assert_plain(said: str) -> None:
    """No traceback, no escapes, nothing at length of what a line of ours tells."""
    mine = [line for line in said.splitlines() if "PlacementGroupCleaner" not in line]
    text = "\n".join(mine)
    assert not re.search(r"Traceback|\x1b|FailurePolicy", text), text


def assert_rows_once(run: Disturbed) -> None:
    """Each row once, in the journal and in MLflow; the run is finished."""
    entries = run.entries()
    rows = Counter((key, e.step) for e in entries if e.kind == "metrics" for key in e.values)
    assert set(rows.values()) == {1}
    ends = Counter((key, e.step) for e in entries if e.kind == "summary" for key in e.values)
    assert sorted(step for key, step in rows if key == "train/loss") == list(range(1, STEPS + 1))
    sql = "SELECT key, step, count(*) FROM metrics GROUP BY key, step"
    kept = {(key, step): count for key, step, count in run.folder.query(sql)}
    assert kept == rows + ends  # the last checkpoint's accuracy, and that of the report
    assert run.folder.query("SELECT status FROM runs") == [("FINISHED",)]


def is_start(entry: Entry) -> bool:
    """Whether it tells that the training began or went on."""
    return entry.kind == "tag" and "starts" in entry.values


def _start(entry: Entry) -> tuple[int, int]:
    """Of `step 0 on 2, step 15 on 1` the last."""
    last = re.findall(r"step (\d+) on (\d+)", entry.values["starts"])[-1]
    return int(last[0]), int(last[1])
