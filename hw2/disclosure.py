"""What may be shown and kept: texts without secrets, and without signs that fool who reads them."""

import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.parse import unquote

HIDDEN = "***"
# Greedy up to the last @: who forgets to quote a password with a / in it shall not see it again.
# Paths of local files may hold an @.
_USERINFO = re.compile(r"(?<!sqlite)(?<!file)://\S*@")
_NAMED = re.compile(
    r"""(?ix) (\b(?:password|passwd|pwd)=                                        # libpq, ODBC
        | [?&;][\w.-]*(?:password|passwd|pwd|token|secret|key|signature|sig)=     # of a URI
        | \bauthorization['"]?\s*[:=]\s*['"]?(?:(?:bearer|basic)\s+)?)            # of HTTP
        [^&;\s'"]+"""
)
_SECRET = re.compile(r"(?i)token|passw|secret|credential|(access|api|private|account|shared)_?key")
_NO_SECRET = re.compile(r"(?i)_(path|file|uri|url)$|^tokenizers_")
_ADDRESS = re.compile(r"(?!sqlite|file)[A-Za-z][\w+.-]*://(?:[^:@/\s]*:)?(\S+)@")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SHORTEST = 8  # of a value that is looked for by itself: "true" or "1" stand in many texts
# Control characters but newline and tab, what turns the direction of writing, line separators.
_SIGNS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

T = TypeVar("T")


def mask(text: str) -> str:
    """`text` without credentials: those in its addresses, and those in this process's environment.

    Addresses may hold them before an @ and as `?access_key=..`; variables are known by their names.
    """
    return _mask_text(text, _of_environment())


def masked(value: T) -> T:
    """`value` with all texts in its mappings and lists masked."""
    return cast(T, _mask_tree(value, _of_environment()))


def plain(text: str) -> str:
    """`text` with control characters and changes of writing direction as visible escapes.

    A name from outside could else clear a terminal, or show itself as another name.
    """
    text = text.encode("utf-8", "backslashreplace").decode()  # halves of surrogate pairs
    return _SIGNS.sub(lambda sign: ascii(sign[0])[1:-1], text)


def writable(text: str) -> bool:
    """Whether no half of a surrogate pair is in `text`, which JSON may hold and no file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """`text` plain, in one line."""
    return plain(" ".join(text.split()))


def brief(text: str) -> str:
    """`text` in one line of at most 4000 characters; of a longer one the middle is left out.

    What an error names comes first and its way out last; a name in a file may be a megabyte.
    """
    return _shortened(one_line(text), 4000)


def _shortened(line: str, most: int) -> str:
    head = most // 2 - 5
    return line if len(line) <= most else f"{line[:head]} .. {line[head + 4 - most :]}"


def describe(error: BaseException) -> str:
    """What an error is, in one line of at most 250 characters without credentials.

    Its kind comes first: some say nothing but a key or a number. Of a long one the middle is left
    out: the first cause stands at the end.
    """
    return _shortened(f"{type(error).__name__}: {one_line(mask(str(error)))}", 250)


def warn(text: str) -> None:
    """`text` in one line on stderr, after `warning: `."""
    print(one_line(f"warning: {text}"), file=sys.stderr)


def as_text(cell: Any) -> Any:
    """A cell for a CSV that a spreadsheet may open: a text that it would compute begins with '.

    Names from outside may be formulas, which can send what else is in the table. Numbers stay as
    they are, also those that are texts.
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


class _Masked:
    """A text stream that masks what is written to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _unheard(self._stream):
            self._stream.write(mask(text))
        return len(text)

    def flush(self) -> None:
        with _unheard(self._stream):
            self._stream.flush()

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded_output() -> Iterator[None]:
    """Mask all that is printed in the block by whomever, and the traceback of what leaves it.

    Who reads it may go away (`| head`, a terminal that is closed), or be away from the start
    (`>&-`): the block goes on.
    """
    before = sys.stdout, sys.stderr
    sys.excepthook = _show
    heard = [stream or open(os.devnull, "w") for stream in before]  # noqa: SIM115
    for stream in heard:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no boxes
    sys.stdout, sys.stderr = (cast(Any, _Masked(stream)) for stream in heard)
    try:
        yield
    finally:
        sys.stdout.flush()  # else at the end of the process, which a reader that is gone would fail
        sys.stdout, sys.stderr = before


@contextmanager
def _unheard(stream: Any) -> Iterator[None]:
    """What nobody reads any more goes nowhere, also at the end of the process."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))


def _mask_tree(tree: Any, secrets: list[str]) -> Any:
    if isinstance(tree, str):
        return _mask_text(tree, secrets)
    if isinstance(tree, dict):
        return {_mask_tree(k, secrets): _mask_tree(v, secrets) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_mask_tree(part, secrets) for part in tree)
    return tree


def _mask_text(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _NAMED.sub(rf"\1{HIDDEN}", _USERINFO.sub(f"://{HIDDEN}@", text))


def _of_environment() -> list[str]:
    """Values of variables that are secrets by their names or as addresses, the longest first."""
    found = set()
    for name, value in os.environ.items():
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            found.add(value)
        elif address := _ADDRESS.match(value):
            found |= {address[1], unquote(address[1])}
    return sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True)
