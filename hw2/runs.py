"""What every job does around its work: claim a folder, open a run, keep to the same inputs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hw2.addresses import ui_command
from hw2.checkpoint import sha256_of
from hw2.config import JobConfig
from hw2.errors import ConfigError
from hw2.job import claim_out
from hw2.journal import write_json
from hw2.tracker import Tracker

if TYPE_CHECKING:
    from hw2.data.digits import DigitSplit

# They move where and how fast a job runs, not what it makes.
NOT_RESULTS = ("scaling", "data.cache", "train.keep_last")


@contextmanager
def job_run(
    config: JobConfig, experiment: str, split: "DigitSplit | None" = None
) -> Iterator[tuple[Path, Tracker]]:
    """The job's folder and MLflow run, finished with the block; prints how to look at it.

    `split` is the training data: its hash becomes a tag, its bad rows a table.
    """
    out = claim_out(config, ignore=NOT_RESULTS)
    tracker = Tracker.start(
        out,
        experiment=experiment,
        run_name=config.name or out.name,
        config=config.model_dump(mode="json"),
        config_file=out / "config.yaml",
        tags={"code_hash": code_hash()} | ({"data_hash": split.content_hash} if split else {}),
    )
    with tracker:
        if split is not None and split.bad:
            rows = [
                {"file": str(bad.file), "line": bad.line, "reason": bad.reason} for bad in split.bad
            ]
            tracker.log_table("bad_pictures", rows)
        yield out, tracker
    print(f"MLflow: {ui_command(tracker.tracking_uri)}")


def code_hash() -> str:
    """sha256 over the sources of hw2 and jobs; there also where there is no git."""
    root = Path(__file__).parents[1]
    paths = sorted(path for folder in ("hw2", "jobs") for path in (root / folder).rglob("*.py"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def same_inputs(out: Path, files: Mapping[str, Path]) -> None:
    """Refuse (ConfigError) to go on in `out` with other weights than it was begun with."""

    record, now = out / "inputs.json", {name: sha256_of(path) for name, path in files.items()}
    if record.is_file() and (then := json.loads(record.read_text())) != now:
        changed = ", ".join(name for name in now if then.get(name) != now[name])
        raise ConfigError(
            f"out={out} was begun with another {changed}: choose another --out or --overwrite true"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(record, now)
