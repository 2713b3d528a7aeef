"""The folder of a job's results: claimed for its settings, or moved aside."""

import itertools
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hw2.config import JobConfig, difference, dump, leaves
from hw2.data.files import planted, read_json, read_mapping
from hw2.disclosure import masked
from hw2.errors import MAKE_ROOM, ConfigError, wants_room
from hw2.lock import JOB_LOCK, LOCK, only_writer
from hw2.yaml_text import read_yaml

if TYPE_CHECKING:
    from hw2.bucket.mirror import Mirror

SETTINGS, SETTINGS_DRAFT = "config.yaml", ".config.yaml.tmp"
INPUTS, INPUTS_DRAFT = "inputs.json", "inputs.tmp"
SHOWN = 6  # differences that are told, of all


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
    record, inputs = out / SETTINGS, dict(inputs or {})
    advice = "choose another --out"
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = mirror.pull_settings() if mirror else False
        if trap := planted(out):
            raise ConfigError(f"out={shown}: {trap}: nothing is written there: {advice}")
        ours = (SETTINGS_DRAFT, INPUTS, INPUTS_DRAFT, JOB_LOCK)
        filled = others or any(path.name not in ours for path in out.iterdir())
        if filled and not record.exists():  # looked for last: another job may write it first
            raise ConfigError(f"out={shown} holds files that no job has made: {advice}")
        if not mirror:
            hold(out)
        differ, again = _differences(out, config, ignore, inputs)
        if differ:
            if not config.overwrite:
                if again and not mirror:
                    advice += f", go on there by --config {record} alone"
                more = f"; and {len(differ) - SHOWN} more" * (len(differ) > SHOWN)
                found = f"results of other settings ({'; '.join(differ[:SHOWN])}{more})"
                raise ConfigError(f"out={shown} holds {found}: {advice}, or --overwrite true")
            if mirror:
                mirror.set_aside()
            else:
                _make_way(out, advice)
                return claim_out(config, ignore, inputs, mirror, hold)  # another may be first
        if mirror:
            mirror.take_over()
        # Also of what this run leaves out: what was made from it may lie there.
        kept = read_mapping(out / INPUTS) if record.exists() else {}
        _put(out / INPUTS, out / INPUTS_DRAFT, json.dumps(kept | inputs))
        _put(record, out / SETTINGS_DRAFT, dump(config))
    except OSError as error:
        if wants_room(error):
            shown, advice = out, MAKE_ROOM
        why = error.strerror
        if out.is_symlink() and not out.exists():
            why = f"a link to {out.readlink()}, which is not there"
        raise ConfigError(f"cannot use out={shown} ({why}): {advice}") from None
    return out


def _differences(
    out: Path, config: JobConfig, ignore: Collection[str], inputs: Mapping[str, str]
) -> tuple[list[str], bool]:
    """How what `out` was made from differs from `config` and `inputs`, a text each.

    And whether its own settings may go on: these differ, in their values alone.
    """
    if not (out / SETTINGS).exists():
        return [], False
    known = read_mapping(out / INPUTS)
    # Where the same bytes lie decides nothing.
    alike = {name for name, found in inputs.items() if known.get(name) == found}
    ignore = {"out", "name", "overwrite", *ignore, *alike}
    here = leaves(config.shown(), ignore)
    try:
        there = leaves(masked(read_yaml(out / SETTINGS)), ignore)
        differ = difference(there, here)
        again = bool(differ) and there.keys() == here.keys()
        if len(there.keys() ^ here.keys()) > SHOWN:
            differ = ["another job has made it"]
    except ConfigError as broken:
        differ, again = [str(broken)], False
    return differ + _other_inputs(out / INPUTS, inputs), again


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


def _make_way(out: Path, advice: str) -> None:
    """Move `out` aside; ConfigError if one stands in it, BusyError if it is still written to."""
    if Path.cwd().is_relative_to(out.resolve()):
        said = "is or holds the working folder, which --overwrite true would move aside"
        raise ConfigError(f"out={out} {said}: cd to another, or {advice}")
    if (out / LOCK).exists():
        with only_writer(out):
            pass  # what outlived its job would write into the new folder
    set_aside(out)


def _put(path: Path, draft: Path, content: str) -> None:
    """Write `path` by way of `draft`: it is there whole, or as it was."""
    with draft.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def set_aside(out: Path) -> None:
    """Move a folder of results to the first of OUT.old-1, OUT.old-2, .. that is free.

    A link stays, and leads to a new folder: what it led to is moved aside on its own disk.
    """
    folder = out.resolve() if out.is_symlink() else out
    asides = (folder.with_name(f"{folder.name}.old-{n}") for n in itertools.count(1))
    folder.rename(next(aside for aside in asides if not aside.exists()))
    if folder is not out:
        folder.mkdir()
