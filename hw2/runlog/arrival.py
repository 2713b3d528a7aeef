"""Whether all that a job wrote down has reached the tracking store."""

from pathlib import Path

from hw2.data.files import read_json
from hw2.disclosure import mask
from hw2.runlog.addresses import resolve_uri
from hw2.runlog.courier import delivered
from hw2.runlog.journal import JOURNAL
from hw2.runlog.run_file import RUN_FILE


def has_arrived(out: Path) -> bool:
    """Whether the run of the finished job in `out` is whole at the store that is used now.

    Raises OSError, ValueError or KeyError where `out` has no journal or no record of a run.
    """
    record, journal = read_json(out / RUN_FILE), out / JOURNAL
    if record["tracking_uri"] != mask(resolve_uri()):
        return False
    rows, files = (delivered(journal, record["run_id"], what) for what in ("rows", "files"))
    return rows == files == journal.stat().st_size
