"""What a user can get wrong. A job prints such an error in one line and exits with code 2."""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# What the system answers, in an OSError of any kind:
NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)  # another's, or below a file
NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)  # too long, or links in a ring
FAILING = (errno.EROFS, errno.EIO, errno.ESTALE)  # a disk or file server, in the middle of a job
MAKE_ROOM = "make room, and the same command goes on"

NEAR = 0.6  # of a word's letters in the same order: outdir is out, unet (0.57) is not


def wants_room(error: BaseException) -> bool:
    """Whether it is a full disk, or a quota that is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def nearest(word: str, known: Iterable[str]) -> str:
    """The question whether `word` is a slip of a name of `known`, dotted or its last part.

    "" where none is near.
    """
    known = list(known)
    names = {name.rpartition(".")[2].lower(): name for name in reversed(known)}
    names |= {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, 1, NEAR)
    return f"did you mean {names[near[0]]}?" if near else ""


class Hw2Error(Exception):
    """Base of all errors that a user can mend; the message shows the value and the way out."""

    exit_code = 2


class ConfigError(Hw2Error, ValueError):
    """A setting that is unknown, impossible, or contradicts another."""


@contextmanager
def in_section(name: str) -> Iterator[None]:
    """Puts the section `name` before the key that a ConfigError of the block begins with."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}.{error}") from None


class BusyError(ConfigError):
    """A folder in which another run is at work, which goes on."""


class DataError(Hw2Error, ValueError):
    """A picture, table or folder from outside that is missing, broken or unsafe."""


class CheckpointError(Hw2Error, RuntimeError):
    """Weights that are missing, torn, of another network, or unsafe to load."""


class StorageError(Hw2Error, RuntimeError):
    """Results that cannot be kept: a full disk, a bucket that is away or refuses us."""


class TrialsFailed(Hw2Error):
    """Trials of a sweep that failed, where the others were done; a job ends with exit code 1."""

    exit_code = 1


class StepsFailed(Hw2Error):
    """Steps of a report that failed, where the others were done; the job ends with exit code 1."""

    exit_code = 1
