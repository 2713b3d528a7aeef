"""A job: its folder of results, its exit codes, its clean stop."""

import atexit
import contextlib
import errno
import itertools
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hw2.allocator import room_on_gpu
from hw2.config import Config, JobConfig, difference, dump, leaves, load
from hw2.data.files import planted, read_json, read_mapping
from hw2.disclosure import brief, guarded_output, masked, one_line
from hw2.errors import FAILING, NO_NAME, NO_WRITING, ConfigError, Hw2Error, wants_room
from hw2.lock import JOB_LOCK, LOCK, only_writer
from hw2.stopping import at_the_end, heeding_signals, seeing_stops, stopped_by
from hw2.submitted import refuse_lost
from hw2.surroundings import refuse_gone_folder, settle
from hw2.yaml_text import read_yaml

if TYPE_CHECKING:
    from hw2.bucket.mirror import Mirror

M = TypeVar("M", bound=Config)
SHOWN = 6  # differences that are told, of all
LESS = "do less at once (--help: batch_size, or a key that ends in _per_chunk)"
MAKE_ROOM = "make room, and the same command goes on"
# Of torch about the processor's memory, and of a library for which `ulimit -v` leaves no room.
_LACKING = re.compile("can't allocate memory|failed to map segment|[Cc]annot allocate memory")


def claim_out(
    config: JobConfig,
    ignore: Collection[str] = (),
    inputs: Mapping[str, str] | None = None,
    mirror: "Mirror | None" = None,
    hold: Callable[[Path], object] = lambda out: None,
) -> Path:
    """Make the folder of the results and write the resolved settings to its config.yaml.

    The same settings claim the same folder again, so that the same command goes on. Of other
    settings, `overwrite` moves the old folder aside to OUT.old-N; without it they are refused.

    Args:
        config: the settings; `out`, `name` and `overwrite` never count as other settings.
        ignore: dotted keys and sections that do not change the results either.
        inputs: hashes of what the results are made from, by name; they count like settings.
        mirror: of an `out` in a bucket; what is there is copied here, once it is claimed.
        hold: called with a folder of no bucket before anything is written there, to lock it.
    Returns: the absolute path of the folder, or of its copy here.
    Raises:
        ConfigError: the folder holds other results, is not ours, or cannot be made.
        BusyError: another job holds it.
        StorageError: the bucket is away.
    """
    out = mirror.folder if mirror else config.out.absolute()
    shown = mirror.bucket.shown if mirror else out
    record, draft = out / "config.yaml", out / ".config.yaml.tmp"
    sums, sums_draft = out / "inputs.json", out / "inputs.tmp"
    inputs = dict(inputs or {})
    ignore = {"out", "name", "overwrite", *ignore}
    advice = "choose another --out"
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = mirror.pull_settings() if mirror else False
        if trap := planted(out):
            raise ConfigError(f"out={shown}: {trap}: nothing is written there: {advice}")
        ours = (draft, sums, sums_draft, out / JOB_LOCK)
        filled = others or any(path not in ours for path in out.iterdir())
        if filled and not record.exists():  # looked for last: another job may write it first
            raise ConfigError(f"out={shown} holds files that no job has made: {advice}")
        if not mirror:
            hold(out)
        if record.exists():
            known = read_mapping(sums)
            # Where the same bytes lie decides nothing.
            alike = {name for name, found in inputs.items() if known.get(name) == found}
            here = leaves(config.shown(), ignore | alike)
            try:
                there = leaves(masked(read_yaml(record)), ignore | alike)
                differ = difference(there, here)
                if len(there.keys() ^ here.keys()) > SHOWN:
                    differ = ["another job has made it"]
            except ConfigError as broken:
                differ = [str(broken)]
            differ += _other_inputs(sums, inputs)
            if differ and not config.overwrite:
                more = f"; and {len(differ) - SHOWN} more" * (len(differ) > SHOWN)
                found = f"results of other settings ({'; '.join(differ[:SHOWN])}{more})"
                raise ConfigError(f"out={shown} holds {found}: {advice}, or --overwrite true")
            if differ and mirror:
                mirror.set_aside()
            elif differ:
                if Path.cwd().is_relative_to(out.resolve()):
                    said = "is or holds the working folder, which --overwrite true would move aside"
                    raise ConfigError(f"out={shown} {said}: cd to another, or {advice}")
                if (out / LOCK).exists():
                    with only_writer(out):
                        pass  # what outlived its job would write into the new folder
                set_aside(out)
                return claim_out(config, ignore, inputs, mirror, hold)  # another may be first
        if mirror:
            mirror.take_over()
        # Also of what this run leaves out: what was made from it may lie there.
        kept = read_mapping(sums) if record.exists() else {}
        for path, passing, content in (
            (sums, sums_draft, json.dumps(kept | inputs)),
            (record, draft, dump(config)),
        ):
            with passing.open("w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            passing.replace(path)
    except OSError as error:
        if wants_room(error):
            shown, advice = out, MAKE_ROOM
        why = error.strerror
        if out.is_symlink() and not out.exists():
            why = f"a link to {out.readlink()}, which is not there"
        raise ConfigError(f"cannot use out={shown} ({why}): {advice}") from None
    return out


def _other_inputs(sums: Path, inputs: Mapping[str, str]) -> list[str]:
    """What of `inputs` is not what OUT was made from, which its `sums` say; new names pass."""
    try:
        known = read_json(sums)
    except (OSError, ValueError):
        known = None
    if inputs and not isinstance(known, dict):
        return [f"{sums.name}, which tells what they were made from, is missing or damaged"]
    others = [k for k, v in inputs.items() if known.get(k, v) != v]
    return [f"{'other' if k.endswith('s') else 'another'} {k}" for k in others]


def set_aside(out: Path) -> None:
    """Move a folder of results to the first of OUT.old-1, OUT.old-2, .. that is free."""
    asides = (out.with_name(f"{out.name}.old-{n}") for n in itertools.count(1))
    out.rename(next(aside for aside in asides if not aside.exists()))


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
