"""Reading the CSV of a split, trusting nothing in it."""

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from hw2.data.files import MAX_TABLE_BYTES, followed, read_regular, reading
from hw2.errors import DataError, StorageError


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: the CSV file, its line (from 1), and why.

    Line 0: a picture of no table, whose file it is.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}: {self.reason}"


def left_out(row: BadRow, skip_bad: bool | None) -> BadRow:
    """`row`, to be listed; DataError unless `skip_bad`. None: no setting of the job has it so."""
    if not skip_bad:
        way_out = "" if skip_bad is None else " (--data.skip_bad true leaves such out)"
        raise DataError(f"{row}{way_out}")
    return row


@dataclass(frozen=True)
class Row:
    """A row whose label and path are sound; the picture itself is not yet looked at."""

    line: int
    path: Path
    digit: int


@dataclass(frozen=True)
class Table:
    """The rows of one CSV, good and bad, and its bytes."""

    file: Path
    content: bytes
    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...]


def read_table(file: Path, folder: Path) -> Table:
    """Read a CSV whose first two columns are file name and digit, whatever they are called.

    Args:
        file: the CSV, with one header line.
        folder: what the file names are relative to, and must not leave.

    Raises:
        DataError: the CSV is missing, empty, without a header, or not text.
        StorageError: the folder cannot be read.
    """
    way_out = "point --data.root at a folder with digits/mnistm and digits/svhn, or make one with"
    with reading(file, f"{way_out} `python -m jobs.prepare_data`"):
        content = read_regular(file, MAX_TABLE_BYTES)
    rows: list[Row] = []
    bad: list[BadRow] = []
    reader = None
    resolved = folder.resolve()
    try:
        text = content.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""))
        header = next(reader, [])
        if len(header) > 1 and _is_number(header[1]):
            raise DataError(
                f"{file}:1: the header is missing: put a line `image_name,label` before the rows"
            )
        if len(header) > 2 and not header[0].strip():
            raise DataError(
                f"{file}:1: the first column has no name, as pandas writes its index: write the "
                "table by `to_csv(file, index=False)`"
            )
        for cells in reader:
            if not cells:
                continue
            try:
                rows.append(Row(reader.line_num, *_check(cells, folder, resolved)))
            except DataError as error:
                bad.append(BadRow(str(file), reader.line_num, str(error)))
    except (UnicodeDecodeError, csv.Error) as error:
        line = reader.line_num if reader else 1
        raise DataError(f"{file}:{line}: not a CSV in UTF-8 ({error})") from error
    if not rows and not bad:
        raise DataError(f"{file}:1: the table is empty: it needs a header and a row a picture")
    return Table(file, content, tuple(rows), tuple(bad))


def _check(cells: list[str], folder: Path, resolved: Path) -> tuple[Path, int]:
    """The picture's path and digit of a row, or DataError with the reason."""
    if len(cells) < 2:
        raise DataError(
            f"{','.join(cells)[:80]!r} needs two columns, file name and digit, with a comma between"
        )
    name, label = cells[0].strip(), cells[1].strip()
    if label not in tuple("0123456789"):
        wrong = "is outside 0..9" if _is_number(label) else "is not a whole number 0..9"
        if re.fullmatch("0+[0-9]", label[:80]) and len(label) <= 80:
            wrong = f"has zeros before it: want {int(label)}"
        raise DataError(f"the label {label[:80]!r} {wrong}")
    return _inside(name, folder, resolved), int(label)


def _inside(name: str, folder: Path, resolved: Path) -> Path:
    """folder/name, or DataError if that is missing or outside of the folder.

    The reason is the same however the path of the folder is written: packs go by it.
    """
    for pure in (PurePosixPath(name), PureWindowsPath(name)):
        if pure.anchor:
            said = f"leaves the folder {folder.name}: it is an absolute path"
            raise DataError(f"{name[:200]!r} {said}")
        if ".." in pure.parts:
            raise DataError(f"{name[:200]!r} leaves the folder {folder.name}")
    path = folder / name
    try:
        # Resolving costs a system call a path component: plain files, nearly all, do without.
        plain = os.sep not in name and not path.is_symlink()
        leaves = not plain and not followed(path).is_relative_to(resolved)
    except PermissionError as error:  # of the folder: no row is to blame
        said = f"cannot be read ({error.strerror}): mend that, and try again"
        raise StorageError(f"{folder} {said}") from None
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop, a null character
        raise DataError(f"{name[:200]!r} is not a usable file name") from error
    if leaves:
        raise DataError(f"{name[:200]!r} leaves the folder {folder.name} by a link")
    return path


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
