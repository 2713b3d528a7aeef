"""What a job finds around it: variables of other projects, a folder that is gone."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any, cast

from hw2.errors import ConfigError


def settle() -> None:
    """Set right what would disturb any job, before it imports what reads that."""
    _wait_without_spinning()
    _show_warnings()
    _have_a_home()


def _wait_without_spinning() -> None:
    """Let threads of arithmetic that wait for each other soon give their core away.

    GNU's OpenMP, which torch brings, has them spin 300,000 times first. Where something else runs
    on that core, the one that is waited for then does not get on: a network was up to 25 times
    slower, and alone it is no faster. Read once, when torch is imported, also by a local Ray's
    workers; what the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _show_warnings() -> None:
    """Take no notice of PYTHONWARNINGS=error: the first warning of a package would end the job."""
    if any(option.startswith("error") for option in sys.warnoptions):
        os.environ.pop("PYTHONWARNINGS", None)  # Ray's processes would inherit it
        rules = cast(list[Any], warnings.filters)
        rules[:] = [rule for rule in rules if rule[0] != "error"]


def _have_a_home() -> None:
    """Where neither HOME nor the list of users tells one, that of containers.

    Path.home() raises there, in MLflow as it is imported.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def refuse_gone_folder() -> None:
    """Raise ConfigError if the working folder was removed: torch would end the process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the working folder is gone: cd to one that is there") from None
