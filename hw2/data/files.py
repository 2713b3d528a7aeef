"""Files that appear whole or not at all, and files from outside that are read with care."""

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hw2.errors import DataError

MAX_TABLE_BYTES = 256 * 2**20  # of a CSV: some millions of rows
MAX_JSON_BYTES = 64 * 2**20


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A passing name beside `path` to write to; renamed to `path` if the block succeeds."""
    passing = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield passing
        os.replace(passing, path)
    finally:
        passing.unlink(missing_ok=True)


def as_umask(path: Path) -> None:
    """Give the file or folder `path`, and all in it, the modes that open and mkdir would have.

    safetensors writes files, and mkdtemp makes folders, that their owner alone can read.
    """
    away = _umask()
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        if not place.is_symlink():
            special = place.stat().st_mode & 0o7000  # as of the folder of a group
            place.chmod(special | ((0o777 if place.is_dir() else 0o666) & ~away))


def _umask() -> int:
    """This process's: os.umask tells it only by setting another, which other threads may meet."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    found = re.search(r"^Umask:\s*([0-7]+)$", status, re.M)
    return int(found[1], 8) if found else 0o077  # as it is without this


def open_regular(path: Path | str) -> BinaryIO:
    """A file from outside, to read bytes from; opening a pipe would wait for ever.

    Raises OSError; and DataError, which does not name the file, unless it is a regular file.
    """
    return open(path, "rb", opener=_regular)


def _regular(path: str, flags: int) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK)
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # of a folder `open` says it itself
        os.close(handle)
        raise DataError("it is not a regular file")
    return handle


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The bytes of such a file. Raises as `open_regular`, and DataError if over `max_bytes`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        size = max(size, len(content))
        raise DataError(f"{size} bytes are over the allowed {max_bytes}")
    return content


def read_text(path: Path, max_bytes: int) -> str:
    """The text of such a file, in UTF-8. Raises as `read_regular`, and DataError for other text."""
    try:
        return read_regular(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        told = f"{error.reason} at byte {error.start}"
        raise DataError(f"not text in UTF-8 ({told})") from None


@contextlib.contextmanager
def reading(what: object, way_out: str) -> Iterator[None]:
    """DataErrors of the block begin with `what`; an OSError becomes one, with a way out."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    except OSError as error:
        raise DataError(f"{what}: cannot be read ({error.strerror}): {way_out}") from None


class Repeated(ValueError):
    """An object of a JSON text has a key twice; the message is the key."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as json reads it, which would silently keep the last of equal keys."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise Repeated(key)
        content[key] = value
    return content


def parse_json(text: str | bytes, hook: Callable[..., Any] | None = None) -> Any:
    """JSON from outside. Raises ValueError whatever is wrong with it, also if it is nested deep.

    `hook` makes of an object's pairs what stands for it (`once`).
    """
    try:
        return json.loads(text, object_pairs_hook=hook)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json(path: Path) -> Any:
    """The JSON file `path`. Raises OSError, or ValueError for whatever else is wrong with it."""
    return parse_json(read_regular(path, MAX_JSON_BYTES))


def read_mapping(path: Path, absent: type[OSError] = FileNotFoundError) -> dict[str, Any]:
    """The mapping in the JSON file `path`; {} if it holds something else, or on `absent`."""
    try:
        found = read_json(path)
    except (absent, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: Any) -> None:
    """Write `content` so that a reader sees the old file or the new one, never half of it."""
    with replacing(path) as passing:
        passing.write_text(json.dumps(content, indent=1) + "\n")


def write_first(path: Path, text: str) -> None:
    """Write `text` to `path` unless something is there: of several who do this the first counts."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        with contextlib.suppress(OSError):  # someone was first, or the disk has no hard links
            os.link(draft, path)
        if not path.exists() or not path.stat().st_size:  # empty: who made it was killed
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def finite(content: Any) -> Any:
    """`content` for a JSON file that others read: null for numbers that JSON does not know."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    return [finite(item) for item in content] if isinstance(content, (list, tuple)) else content


def followed(path: Path) -> Path:
    """`path`, its links followed. Raises OSError, ValueError; RuntimeError for a ring of links."""
    end = path.resolve()
    if end.is_symlink():  # since Python 3.13 a ring is where it stops
        raise RuntimeError(f"{path}: a ring of links")
    return end


def inside(path: Path, folder: Path) -> bool:
    """Whether `path`, its links followed, lies in `folder`."""
    try:
        return followed(path).is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a null character
        return False


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_file(path: Path) -> str:
    """Why `path` is no file to read, in words."""
    if path.exists() and not path.is_dir():
        return "it is not a regular file"
    return "no such file"


def unpacked_sizes(path: Path) -> list[tuple[str, int]]:
    """Name and bytes of each member of a zip as it says, before anything is unpacked.

    Two may have one name. Raises BadZipFile, OSError.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # of a device zipfile would read without end
        raise zipfile.BadZipFile("it is not a regular file")
    with zipfile.ZipFile(path) as packed:
        return [(entry.filename, entry.file_size) for entry in packed.infolist()]


def planted(folder: Path) -> str | None:
    """What below `folder` could lead a writer astray, if anything: a link out of it, a device.

    Who writes to such a name would write to another's file, or wait for ever.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        # Another process may rename or prune a folder that was found.
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if not inside(Path(entry.path), folder):
                        return f"{entry.path} is a link that leads out of it"
                elif entry.is_dir():
                    waiting.append(entry.path)
                elif not entry.is_file():
                    return f"{entry.path} is no regular file"
    return None
