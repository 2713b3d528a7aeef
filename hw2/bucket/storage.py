"""Files in a bucket (s3://, gs://): put, got and listed by pyarrow, errors in clear words."""

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from hw2.disclosure import mask, one_line
from hw2.errors import ConfigError, Hw2Error, StorageError, wants_room

T = TypeVar("T")
logger = logging.getLogger("hw2.bucket")

ANSWER_SECONDS = 15.0  # in which a bucket has to answer at a job's start
PATIENCE_SECONDS = 300.0  # for which it may be away in the middle of one
CHUNK_BYTES = 8 * 2**20
OPTIONS = ("region", "endpoint_override", "scheme")  # that a URI of S3 may hold
AWAY = (OSError, pa.ArrowException)

_WORDS = {
    r"NO_SUCH_BUCKET": "there is no such bucket",
    r"INVALID_ACCESS_KEY|SIGNATURE|ACCESS_DENIED|EXPIRED_TOKEN|INVALID_CLIENT_TOKEN"
    r"|UNRECOGNIZED_CLIENT|PermissionDenied|Unauthenticated|credential|HTTP (status )?40[13]": (
        "it refuses the credentials: give those of an account that may read and write there, by "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS or the "
        "machine's role"
    ),
    r"NETWORK_CONNECTION|Could not connect|curlCode|Timeout": "no answer",
}


class Stamp(NamedTuple):
    """What tells one content of a file from the next."""

    size: int
    mtime_ns: int


def _open(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it.

    The clients' own retries are cut short: they hold a call, and the process's end, for minutes.
    """
    if not uri.startswith("s3:"):
        return fs.FileSystem.from_uri(f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds=15")
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    if unknown := options.keys() - OPTIONS:
        raise ValueError(f"unknown option {min(unknown)}: there are {', '.join(OPTIONS)}")
    if not options.keys() & {"region", "endpoint_override"}:
        options["region"] = fs.resolve_s3_region(parts.netloc)
    files = fs.S3FileSystem(
        **options,
        connect_timeout=3,
        request_timeout=5,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
        allow_delayed_open=True,  # a small file is one request instead of three
    )
    return files, parts.netloc + unquote(parts.path)


class Bucket:
    """The files below a URI, by their names from there.

    Methods raise what pyarrow raises: OSError, FileNotFoundError among them. `patiently` makes a
    StorageError of that, after it has tried for a while.
    """

    def __init__(self, uri: str) -> None:
        if re.match(r"\w+://[^/]*:[^/]*@", uri):
            raise ConfigError(
                f"{mask(uri)}: leave the keys out, the address is kept with the results: give them "
                "by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or the machine's role"
            )
        self.uri = uri

    @property
    def shown(self) -> str:
        """The URI without its options."""
        return mask(self.uri.partition("?")[0].rstrip("/"))

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            files, base = _open(self.uri)
        except (TypeError, ValueError, pa.ArrowInvalid) as error:
            raise ConfigError(f"{self.shown}: no usable address ({in_words(error)})") from None
        return files, base.strip("/")

    @property
    def files(self) -> Any:
        """The file system."""
        return self._opened[0]

    def path(self, name: str = "") -> str:
        """The file `name` in the file system's words."""
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    def refuse_unusable(self, seconds: float = ANSWER_SECONDS) -> None:
        """Raise StorageError unless the bucket is there and answers within `seconds`."""
        found: list[Hw2Error | None] = []

        def look() -> None:
            try:
                self.patiently(self._look, seconds, give_up=_is_final)
                found.append(None)
            except (StorageError, ConfigError) as error:
                found.append(error)

        # A thread, because a server that takes connections and is silent holds a call for minutes.
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(seconds)
        if (error := found[0] if found else self._failed("no answer", seconds)) is not None:
            raise error

    def _look(self) -> None:
        bucket = self.path().partition("/")[0]
        if self.files.get_file_info(bucket).type is fs.FileType.NotFound:
            raise OSError("NO_SUCH_BUCKET")
        self.names()

    def patiently(
        self,
        call: Callable[[], T],
        seconds: float = PATIENCE_SECONDS,
        give_up: Callable[[str], bool] = lambda reason: False,
    ) -> T:
        """`call()`, tried again for `seconds` while the bucket refuses it.

        Raises StorageError after that, and at once for a reason to `give_up` or a full local disk.
        """
        deadline, pause, told = time.monotonic() + seconds, 0.5, False
        while True:
            try:
                result = call()
            except AWAY as error:
                if wants_room(error):
                    raise
                reason = str(error)
                if give_up(reason) or time.monotonic() + pause > deadline:
                    raise self._failed(in_words(error), seconds) from None
                if not told and seconds > ANSWER_SECONDS:
                    logger.warning(
                        "%s cannot be used (%s): trying again for %g s",
                        self.shown, in_words(error), seconds,
                    )  # fmt: skip
                    told = True
                time.sleep(pause)
                pause = min(2 * pause, 8.0)
                continue
            if told:
                logger.warning("%s is back", self.shown)
            return result

    def _failed(self, why: str, seconds: float) -> StorageError:
        waited = f" within {seconds:g} s" if seconds else ""
        return StorageError(f"{self.shown} cannot be used{waited}: {why}")

    def names(self, folder: str = "") -> dict[str, Stamp]:
        """The files below `folder` by name, hidden ones left out; {} if there is none.

        A name that would leave the folder it is copied to (`..`) is left out too.
        """
        selector = fs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        start, found = len(self.path()) + 1, {}
        for info in self.files.get_file_info(selector):
            name = info.path[start:]
            sound = name.isprintable() and all(part and part[0] != "." for part in name.split("/"))
            if info.type is fs.FileType.File and sound:
                found[name] = Stamp(info.size, info.mtime_ns or 0)
        return found

    def find(self, *names: str) -> tuple[str, Stamp | None]:
        """The first of `names` that is a file ("": the URI itself), and its stamp; None if none."""
        for name in names:
            info = self.files.get_file_info(self.path(name))
            if info.type is fs.FileType.File:
                return name, Stamp(info.size, info.mtime_ns or 0)
        return "", None

    def get(self, name: str, path: Path) -> None:
        """Write the file `name` to `path`."""
        with self.files.open_input_stream(self.path(name)) as source, path.open("wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)

    def put(self, name: str, path: Path, size: int) -> None:
        """Write the first `size` bytes of `path` to the file `name`; it appears as a whole."""
        with path.open("rb") as source, self.files.open_output_stream(self.path(name)) as target:
            while chunk := source.read(min(CHUNK_BYTES, size)):
                target.write(chunk)
                size -= len(chunk)

    def read_text(self, name: str) -> str | None:
        """A short file; None if there is none."""
        try:
            with self.files.open_input_stream(self.path(name)) as source:
                return str(source.read(4096), "utf-8", "replace")
        except FileNotFoundError:
            return None

    def write_text(self, name: str, text: str) -> None:
        """Write a short file."""
        with self.files.open_output_stream(self.path(name)) as target:
            target.write(text.encode())

    def delete(self, name: str) -> None:
        """Take the file `name` away, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.files.delete_file(self.path(name))

    def move_aside(self) -> None:
        """Move all files, also those that come meanwhile, to a folder beside this, URI.old-N."""
        n, base = 1, self.path()
        while self.files.get_file_info(f"{base}.old-{n}").type is not fs.FileType.NotFound:
            n += 1
        while found := self.names():
            names = sorted(found, key=lambda name: (name == "config.yaml", name))
            for name in names:  # what says whose results they are goes last
                self.files.copy_file(self.path(name), f"{base}.old-{n}/{name}")
            for name in names:
                self.delete(name)


def _is_final(reason: str) -> bool:
    """Whether waiting cannot help."""
    *final, _ = _WORDS
    return any(re.search(pattern, reason, re.IGNORECASE) for pattern in final)


def in_words(error: BaseException) -> str:
    """What an error of a file system means, in one line without keys."""
    text = str(error)
    for pattern, words in _WORDS.items():
        if re.search(pattern, text, re.IGNORECASE):
            return words
    return mask(one_line(text))[:300] or type(error).__name__
