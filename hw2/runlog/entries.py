"""One line of a journal: what happened to the run, when, and at which step."""

import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """The entry in `line`; None, with a warning that names `path`, if it is unreadable."""
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        logger.warning("%s: left out the unreadable line %.80r", path, line)
        return None


def read_entries(
    path: Path, offset: int = 0, kinds: Collection[str] = ROWS + FILES
) -> Iterator[tuple[Entry | None, int]]:
    """Each line's entry from byte `offset` on, None if of no such kind; and the offset behind."""
    for line, end in read_lines(path, offset):
        entry = parse(line, path)
        yield entry if entry and entry.kind in kinds else None, end
