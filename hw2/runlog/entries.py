"""One line of a journal: what happened to the run, when, and at which step."""

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw2.data.files import parse_json
from hw2.runlog.line_file import read_lines

logger = logging.getLogger("hw2.tracking")
ROWS, FILES = ("metrics", "summary", "param", "tag", "status"), ("artifact",)


@dataclass(frozen=True)
class Entry:
    """One line: `kind` is metrics, summary, param, tag, artifact or status."""

    kind: str
    time_ms: int
    values: dict[str, Any]
    step: int = 0

    def line(self) -> bytes:
        """As JSON; NaN and infinities survive."""
        return json.dumps(self.__dict__).encode() + b"\n"


def parse(line: bytes, path: Path) -> Entry | None:
    """The entry in `line`; None, with a warning that names `path`, if it is unreadable.

    A journal may have been begun by somebody else: what is not as we write it is not believed.
    """
    try:
        entry = Entry(**parse_json(line))
        if not _is_ours(entry):
            raise ValueError
        return entry
    except (ValueError, TypeError):
        logger.warning("%s: left out the unreadable line %.80r", path, line)
        return None


def _is_ours(entry: Entry) -> bool:
    whole = all(type(n) is int and 0 <= n < 2**63 for n in (entry.time_ms, entry.step))
    if not (whole and isinstance(entry.values, dict) and isinstance(entry.kind, str)):
        return False
    values = entry.values.values()
    if entry.kind in ("metrics", "summary"):
        return all(type(value) in (int, float) for value in values)
    if entry.kind == "artifact":
        return all(map(_is_below, entry.values)) and all(map(_names_a_file, values))
    return entry.kind not in ROWS or all(isinstance(value, str) for value in values)


def _is_below(name: str) -> bool:
    """Whether `name` is one that MLflow takes for a place below the run's folder."""
    parts = name.split("/")
    return name.isprintable() and len(name) < 400 and not {"", ".", ".."}.intersection(parts)


def _names_a_file(value: object) -> bool:
    if not (isinstance(value, Mapping) and isinstance(value.get("path"), str)):
        return False
    return re.fullmatch("[0-9a-f]{64}", str(value.get("sha256"))) is not None


def read_entries(
    path: Path, offset: int = 0, kinds: Collection[str] = ROWS + FILES
) -> Iterator[tuple[Entry | None, int]]:
    """Each line's entry from byte `offset` on, None if of no such kind; and the offset behind."""
    for line, end in read_lines(path, offset):
        entry = parse(line, path)
        yield entry if entry and entry.kind in kinds else None, end
