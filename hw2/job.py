"""A job: its exit codes and its clean stop."""

import atexit
import contextlib
import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hw2.allocator import room_on_gpu
from hw2.config import Config, load
from hw2.disclosure import brief, guarded_output, one_line
from hw2.errors import FAILING, MAKE_ROOM, NO_NAME, NO_WRITING, Hw2Error, wants_room
from hw2.stopping import at_the_end, heeding_signals, seeing_stops, stopped_by
from hw2.submitted import refuse_lost
from hw2.surroundings import refuse_gone_folder, settle

M = TypeVar("M", bound=Config)
LESS = "do less at once (--help: batch_size, or a key that ends in _per_chunk)"
# Of torch about the processor's memory, and of a library for which `ulimit -v` leaves no room.
_LACKING = re.compile("can't allocate memory|failed to map segment|[Cc]annot allocate memory")


def run_job(
    model_cls: type[M],
    main: Callable[[M], object],
    *,
    doc: str | None = None,
    argv: list[str] | None = None,
) -> int:
    """Run a job: `raise SystemExit(run_job(Config, main, doc=__doc__))` at the end of its module.

    Returns: the exit code. 0: done. 2: a mistake of the user, told in one line on stderr. 1: trials
        of a sweep or steps of a report failed, told likewise.
        130, 143 or 129: stopped by Ctrl-C, SIGTERM or SIGHUP, after the `finally` blocks of `main`.
    Raises: whatever else `main` raises; its traceback then shows, with exit code 1.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    prog = (
        f"python -m {spec.name.removesuffix('.__main__')}"
        if spec
        else f"python {Path(sys.argv[0]).name}"
    )
    settle()
    ended: list[int] = []
    own = getattr(sys.modules["__main__"], "main", None) is main  # the process is the job's
    if own:
        atexit.register(_leave, ended)  # before Ray registers its own, and so called after them
    with heeding_signals(), guarded_output():
        ended.append(_run(model_cls, main, prog, doc, argv))
    if own:
        at_the_end(ended[0])
    return ended[0]


def _leave(ended: list[int]) -> None:
    """End the process of a job that has `ended`, without the destructors of C++ libraries.

    Ray's threads outlive its shutdown and may run into them: the job would count as failed.
    """
    if ended:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError):  # closed, or nobody reads it
                stream.flush()
        os._exit(ended[0])


def _removed(out: Path | None, missing: object) -> bool:
    """Whether the file `missing` lacks because OUT, which had been claimed, is gone."""
    if out is None or missing is None or (out / "config.yaml").exists():
        return False
    return Path(str(missing)).is_relative_to(out.absolute())


def _run(
    model_cls: type[M],
    main: Callable[[M], object],
    prog: str,
    doc: str | None,
    argv: list[str] | None,
) -> int:
    out = None
    try:
        config = load(model_cls, argv, prog=prog, description=doc or "")
        refuse_gone_folder()
        out = getattr(config, "out", None)
        refuse_lost(config)
        with seeing_stops(), room_on_gpu(f"{LESS}, or give --scaling.use_gpu false"):
            main(config)
        return 0
    except Hw2Error as error:
        cause = getattr(error, "cause", error)  # Ray wraps a task's error and adds its traceback
        print("error:", brief(str(cause)), file=sys.stderr)
        return getattr(cause, "exit_code", error.exit_code)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno == errno.ENOENT and _removed(out, error.filename):
            advice = f"out={out} was removed while the job ran: the same command begins anew"
        elif wants_room(error):
            where = where or f" (the results are in {out})" * (out is not None)
            advice = MAKE_ROOM
        elif error.errno in (*NO_WRITING, *NO_NAME, *FAILING) and where:
            advice = "mend that, or give another path"
        elif error.errno in FAILING:  # of a file that is open the system gives no name
            where = f" (the results are in {out})" * (out is not None)
            advice = "mend the disk or file server, and the same command goes on"
        else:
            raise
        print(one_line(f"error: {error.strerror}{where}: {advice}"), file=sys.stderr)
        return Hw2Error.exit_code
    except (MemoryError, RuntimeError, ImportError) as error:
        if not isinstance(error, MemoryError) and not _LACKING.search(str(error)):
            raise
        said = one_line(str(getattr(error, "cause", error)))  # of a task of Ray's, its own words
        why = f" ({said})" if said else ""
        print(f"error: too little memory{why}: {LESS}", file=sys.stderr)
        return Hw2Error.exit_code
    except KeyboardInterrupt:
        number = stopped_by()
    except SystemExit as left:  # of Ray's handler, which stands in place of ours while Ray starts
        if left.code != signal.SIGTERM:
            raise
        number = signal.SIGTERM
    with contextlib.suppress(KeyboardInterrupt):  # once more
        by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        print("stopped by", by, file=sys.stderr)
    return 128 + number
