"""Which MLflow run a folder of results is of: OUT/mlflow_run.json."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hw2.data.files import read_mapping

RUN_FILE = "mlflow_run.json"


def read_run(out: Path) -> dict[str, Any]:
    """The run that OUT began; {} if none, or if the file is not as we write it.

    `key` finds it in the store; `run_id`, `tracking_uri` and `out` (OUT itself, unless that is in a
    bucket) come with its first start.
    """
    record = read_mapping(out / RUN_FILE)
    return record if re.fullmatch("[0-9a-f]{32}", str(record.get("key"))) else {}


def copied_from(run: Mapping[str, Any], out: Path) -> Path | None:
    """The folder whose run `out` has, if that is another one: then `out` is a copy of it.

    A folder that was moved is none, as nothing of the run is left where it was.
    """
    try:
        there = Path(run["out"])
        if there.samefile(out) or read_run(there).get("key") != run["key"]:
            return None
    except (KeyError, TypeError, ValueError, OSError):
        return None
    return there
