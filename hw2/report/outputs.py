"""What a job left in its folder: settings, numbers, and its run."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw2.data.files import read_json
from hw2.disclosure import writable
from hw2.errors import ConfigError, DataError
from hw2.metrics.intervals import Interval
from hw2.report.steps import StepResult
from hw2.runlog.addresses import run_page, ui_command
from hw2.runlog.entries import read_entries
from hw2.runlog.journal import JOURNAL
from hw2.runlog.run_file import RUN_FILE
from hw2.runs import AUTO_PRECISION
from hw2.yaml_text import read_yaml

UI = "http://127.0.0.1:5000"  # where the command of `ui_command` serves a store that is a file


@dataclass(frozen=True)
class JobOutput:
    """A finished job. `config` and `metrics` are its config.yaml and metrics.json."""

    name: str
    command: str
    out: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    run_id: str
    run_link: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of everything that it drew."""
        return int(self.config["seed"])

    @property
    def precision(self) -> str:
        """The number format of its networks; of "auto" also what that was where it computed."""
        trained = self.config.get("train", {}).get("precision", "auto")
        told, was = str(self.config.get("precision", trained)), self.tags.get(AUTO_PRECISION)
        return f"auto ({was})" if told == "auto" and was else told

    @property
    def clip_name(self) -> str:
        """The CLIP that it looked with, as its settings name it."""
        named = [str(self.config[k]) for k in ("model", "pretrained") if self.config.get(k)]
        return " / ".join(named) or "asset:clip"

    def metric(self, *keys: str) -> Any:
        """The value at `keys` of metrics.json; DataError if it has none."""
        found: Any = self.metrics
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                raise DataError(f"{self.out / 'metrics.json'} has no {' > '.join(keys)}")
            found = found[key]
        return found

    def interval(self, *keys: str) -> Interval:
        """The same of an estimate with its limits."""
        return as_interval(self.metric(*keys), f"{self.out}: {' > '.join(keys)}")


def as_interval(found: Any, where: str = "metrics.json") -> Interval:
    """An estimate as metrics.json keeps it; DataError if it is none."""
    try:
        numbers = [found[key] for key in ("value", "low", "high")]
        return Interval(*(float("nan") if n is None else float(n) for n in numbers))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: want value, low and high, found {str(found)[:80]}") from None


def read_output(result: StepResult) -> JobOutput:
    """What a finished step left. Raises DataError for files that are missing or broken."""
    out = result.step.out
    try:
        config = read_yaml(out / "config.yaml")
    except ConfigError as error:
        raise DataError(str(error)) from None
    _refuse_unwritable(out / "config.yaml", config)
    run = _json(out / RUN_FILE)
    run_id, uri = str(run.get("run_id", "")), str(run.get("tracking_uri", ""))
    if not re.fullmatch(r"\w+", run_id):
        raise DataError(f"{out / RUN_FILE} names no run")
    return JobOutput(
        result.step.name,
        result.step.command,
        out,
        config,
        _json(out / "metrics.json"),
        run_id,
        run_page(_ui(uri), run_id),
        _tags(out / JOURNAL),
    )


def _tags(journal: Path) -> dict[str, str]:
    if not journal.is_file():
        return {}
    entries = (entry for entry, _ in read_entries(journal, 0, ("tag",)) if entry)
    found = {key: value for entry in entries for key, value in entry.values.items()}
    _refuse_unwritable(journal, found)
    return found


def _ui(uri: str) -> str:
    """The address of the UI; for a store that is a file, where the told command serves it."""
    return ui_command(uri) if uri.startswith(("http://", "https://")) else UI


def _json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: broken JSON ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: want an object, found {str(found)[:80]}")
    _refuse_unwritable(path, found)
    return found


def _refuse_unwritable(path: Path, found: object) -> None:
    """Raise DataError for texts that no page can hold: all of it would be lost for them."""
    if not writable(json.dumps(found, ensure_ascii=False)):
        raise DataError(f"{path}: a text there holds half a surrogate pair")
