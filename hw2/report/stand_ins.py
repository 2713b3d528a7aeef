"""Data in the place of the course's: parts of the data tree that prepare_data made."""

from collections.abc import Iterable
from pathlib import Path

from hw2.report.outputs import JobOutput

# By their key in the texts, in the page's order: the settings of jobs that lie in a part's folder,
# and the recipe that lies there.
PARTS = {
    "digits": ("data", "offline.json"),
    "downloaded_digits": ("data", "torchvision.json"),
    "faces": ("noise", "offline.json"),
    "clip": ("images", "offline.json"),
    "concepts": ("input", "offline.json"),
    "captions": ("captions", "offline.json"),
}


def stand_ins(jobs: Iterable[JobOutput]) -> tuple[str, ...]:
    """The parts that any of `jobs` read and prepare_data made."""
    found = list(jobs)
    return tuple(part for part in PARTS if any(is_stand_in(job, part) for job in found))


def is_stand_in(job: JobOutput, part: str) -> bool:
    """Whether the job read this part, and prepare_data has left the recipe in its folder."""
    try:
        setting, recipe = PARTS[part]
        named = job.config[setting]
        folder = Path(named["root"], "digits") if setting == "data" else Path(named).parent
        return (folder.expanduser() / recipe).is_file()
    except (LookupError, TypeError, ValueError, OSError, RuntimeError):
        return False
