"""The jobs of a report: planned from its settings, run as processes, reused if nothing changed."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hw2.config import JobConfig, load
from hw2.data.files import read_mapping, write_json
from hw2.disclosure import mask, masked
from hw2.errors import ConfigError, Hw2Error
from hw2.lock import JOB_LOCK, only_writer
from hw2.report.fingerprint import Fingerprint, code_of_jobs, fingerprint, paths_in, stat_of
from hw2.results import set_aside
from hw2.runlog.courier import has_arrived
from hw2.runlog.environment import COMPUTING, versions
from hw2.settings.report import ReportConfig, Step

OTHER = re.compile(r"\{out\}/([^/\",]+)")
KEPT = ".steps"  # folder in OUT: what is known of each step, and its log
SettingsOf = Callable[[str], type[JobConfig]]


@dataclass(frozen=True)
class Planned:
    """A step as it will run. `words` are those after the job's name; `needs` are other steps."""

    name: str
    job: str
    words: tuple[str, ...]
    out: Path
    needs: tuple[str, ...]

    @property
    def command(self) -> str:
        """What makes its results again, to be shown: without the keys of addresses."""
        return mask(shlex.join(["python", "-m", f"jobs.{self.job}", *self.words]))


@dataclass(frozen=True)
class StepResult:
    """How a step went; `seconds` are those of the run that made the results."""

    step: Planned
    status: Literal["running", "done", "reused", "failed", "skipped"]
    seconds: float = 0.0
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether its results are there."""
        return self.status in ("done", "reused")


def plan(config: ReportConfig, settings_of: SettingsOf) -> list[Planned]:
    """The steps of `config`, in its order.

    Raises ConfigError for a step that its job would refuse, or that waits for one that does not
    come before it.
    """
    planned: list[Planned] = []
    for name, step in config.steps.items():
        out = config.out / name
        needs = tuple(dict.fromkeys(OTHER.findall(json.dumps(step.settings))))
        for other in needs:
            if other not in config.steps:
                raise ConfigError(f"steps.{name}: {{out}}/{other}: there is no step {other}")
            if other not in [one.name for one in planned]:
                raise ConfigError(f"steps.{name}: {other} must stand before it in steps")
        words = [*_words(step, config), "--out", str(out)]
        planned.append(Planned(name, step.job, tuple(words), out, needs))
        try:
            settings(planned[-1], settings_of)
        except ConfigError as error:
            raise ConfigError(f"steps.{name}: {error}") from None
    return planned


def settings(step: Planned, settings_of: SettingsOf) -> JobConfig:
    """The settings of a step as its job resolves them; ConfigError as the job would raise."""
    prog = f"python -m jobs.{step.job}"
    job, words = settings_of(step.job), list(step.words)
    return load(job, words, prog=prog, description="", origin="in settings")


def _words(step: Step, config: ReportConfig) -> list[str]:
    words = []
    if config.seed and "seed" not in step.settings:  # 0 is what a step has by itself
        words += ["--seed", str(config.seed)]
    if step.config is not None:  # it may name another seed
        words += ["--config", step.config]
    for key, value in step.settings.items():
        words += [f"--{key}", _text(value, str(config.out))]
    return words


def _text(value: Any, out: str) -> str:
    """A setting as a word of the command line, which hw2.reader.parse takes back."""
    if isinstance(value, str):
        return value.replace("{out}", out)
    plain = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    if plain and not set("".join(value)) & set(",\"'["):
        return ",".join(value).replace("{out}", out)
    return json.dumps(value, ensure_ascii=False).replace("{out}", out)


class Runner:
    """Runs steps in the folder of a report and remembers what made each."""

    def __init__(self, out: Path, settings_of: SettingsOf) -> None:
        self.kept, self.settings_of = out / KEPT, settings_of
        self.kept.mkdir(exist_ok=True)
        self.code, self.packages = code_of_jobs(), versions(COMPUTING)

    def run(self, steps: list[Planned]) -> Iterator[StepResult]:
        """Each step twice: as it begins (unless it is reused or skipped), and as it ended."""
        ended: dict[str, StepResult] = {}
        for step in steps:
            lost = [name for name in step.needs if not ended[name].ok]
            if lost:
                result = StepResult(step, "skipped", error=f"it needs {lost[0]}, which failed")
            elif (seconds := self._reusable(step)) is not None:
                result = StepResult(step, "reused", seconds)
            else:
                yield StepResult(step, "running")
                result = self._run(step)
            ended[step.name] = result
            yield result

    def log_of(self, step: Planned) -> Path:
        """Where a step's output goes."""
        return self.kept / f"{step.name}.log"

    def _run(self, step: Planned) -> StepResult:
        began = time.monotonic()
        known = self._known(step)
        try:
            made_from = self._made_from(step, {})
            same = _same(known.get("made_from"), made_from)
            # The job itself would go on with what other code has left in its folder.
            if not same and step.out.exists():
                with only_writer(step.out, 0.0, JOB_LOCK):  # a killed report's job may live on
                    set_aside(step.out)
            longest = float(known.get("seconds", 0)) if same else 0.0
            record = {"made_from": made_from, "seconds": longest}
            write_json(self._record(step), record)
        except (Hw2Error, OSError) as error:
            return StepResult(step, "failed", error=str(error))
        # The job may know more of what it reads than the report: the folder is the report's.
        words = [sys.executable, "-m", f"jobs.{step.job}", *step.words, "--overwrite", "true"]
        with self.log_of(step).open("w", encoding="utf-8") as log:
            process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
            try:
                code = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        seconds = time.monotonic() - began
        if code:
            return StepResult(step, "failed", seconds, self._why(step, code))
        # A run that only found all done says nothing of how long it takes.
        seconds = max(seconds, longest)
        try:
            left = stat_of(step.out)
        except OSError as error:
            return StepResult(step, "failed", seconds, f"it left nothing ({error})")
        write_json(self._record(step), {**record, "left": left, "seconds": seconds})
        return StepResult(step, "done", seconds)

    def _why(self, step: Planned, code: int) -> str:
        """The job's own line, or the last one."""
        lines = self.log_of(step).read_text("utf-8", errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        last = (told or lines or ["it said nothing"])[-1]
        return f"{last[:500]} (exit code {code}; log: {self.log_of(step)})"

    def _record(self, step: Planned) -> Path:
        return self.kept / f"{step.name}.json"

    def _known(self, step: Planned) -> dict[str, Any]:
        """What is kept of a step; {} for what is not as we write it."""
        known = read_mapping(self._record(step), absent=OSError)
        try:
            _contents(known["made_from"])
            float(known["seconds"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return {}
        return known

    def _reusable(self, step: Planned) -> float | None:
        """How long the run took whose results are still what this step would make."""
        known = self._known(step)
        try:
            if known["left"] != stat_of(step.out) or not has_arrived(step.out):
                return None
            before = known["made_from"]
            now = self._made_from(step, before["inputs"])
            return float(known["seconds"]) if _same(before, now) else None
        except (KeyError, TypeError, ValueError, OSError, Hw2Error):
            return None

    def _made_from(self, step: Planned, known: Mapping[str, Any]) -> dict[str, Any]:
        """Command, code, packages, and the files and folders that the resolved settings name."""
        tree = settings(step, self.settings_of).model_dump(mode="json", exclude={"out"})
        inputs = {}
        for path in sorted(set(paths_in(tree))):
            before = Fingerprint(**known[path]) if path in known else None
            inputs[path] = fingerprint(Path(path), before)._asdict()
        made = {"words": list(step.words), "settings": tree}
        made |= {"code": self.code, "packages": self.packages}
        return json.loads(json.dumps({**masked(made), "inputs": inputs}))


def _same(before: Any, now: Mapping[str, Any]) -> bool:
    """Whether both are of one command and code and of inputs of the same bytes."""
    if before is None:
        return False
    return {**before, "inputs": _contents(before)} == {**now, "inputs": _contents(now)}


def _contents(made: Mapping[str, Any]) -> dict[str, str]:
    return {path: found["content"] for path, found in made["inputs"].items()}
