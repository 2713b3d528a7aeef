"""Data in the place of the course's: parts of the data tree that were made offline."""

from collections.abc import Iterable
from pathlib import Path

from hw2.report.outputs import JobOutput

# By their key in the texts, in the page's order: the settings of jobs that lie in a part's folder.
PARTS = {
    "digits": "data",
    "faces": "noise",
    "clip": "images",
    "concepts": "input",
    "captions": "captions",
}


def stand_ins(jobs: Iterable[JobOutput]) -> tuple[str, ...]:
    """The parts that any of `jobs` read from an offline tree."""
    found = list(jobs)
    return tuple(part for part in PARTS if any(is_stand_in(job, part) for job in found))


def is_stand_in(job: JobOutput, part: str) -> bool:
    """Whether the job read this part, and prepare_data has left the recipe in its folder."""
    try:
        named = job.config[PARTS[part]]
        folder = Path(named["root"], "digits") if part == "digits" else Path(named).parent
        return (folder.expanduser() / "offline.json").is_file()
    except (LookupError, TypeError, ValueError, OSError, RuntimeError):
        return False
