"""Folders of pictures on a disk or in a bucket, by one interface."""

import os
import re
import stat
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from hw2.data.images import SUFFIXES
from hw2.disclosure import HIDDEN, mask
from hw2.errors import ConfigError, DataError

LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # what Windows and macOS leave
MAX_FILE_BYTES = 64 * 2**20

# What a disk or a bucket may answer.
STORE_ERRORS = (OSError, ValueError, pa.ArrowException)


class Entry(NamedTuple):
    """A file or folder: its name below the root, and what is wrong with it."""

    name: str
    size: int
    mtime_ns: int
    folder: bool = False
    reason: str | None = None


class Store:
    """A folder, local (a root that is an absolute path) or remote (a URI)."""

    def __init__(self, root: str) -> None:
        try:
            here = (fs.LocalFileSystem(), root)
            self.files, base = fs.FileSystem.from_uri(_patient(root)) if _is_uri(root) else here
        except STORE_ERRORS as error:
            raise ConfigError(
                f"{shown(root)}: no such place of files ({gist(error)}): "
                "give a folder, or a URI as s3://bucket/folder or gs://bucket/folder"
            ) from None
        self.base = base.rstrip("/") or base
        self.local = isinstance(self.files, fs.LocalFileSystem)
        self.root = self.base if self.local else root

    def path(self, name: str) -> str:
        """Where the entry `name` lies, in the words of the file system."""
        return f"{self.base.rstrip('/')}/{name}" if name else self.base

    def scan(self, folder: str = "", deep: bool = False) -> Iterator[Entry]:
        """What lies in a folder, and if `deep`, below it; in any order, none hidden, no LITTER."""
        try:
            yield from (self._scan_local if self.local else self._scan_remote)(folder, deep)
        except STORE_ERRORS as error:
            where = f"{shown(self.root)}{'/' if folder else ''}{folder}"
            raise DataError(f"{where}: cannot be listed ({gist(error)})") from None

    def _scan_remote(self, folder: str, deep: bool) -> Iterator[Entry]:
        for info in self.files.get_file_info(fs.FileSelector(self.path(folder), recursive=deep)):
            name = info.path[len(self.base) + 1 :]
            if not any(map(passed_over, name.split("/"))):
                yield _remote_entry(name, info)

    def _scan_local(self, folder: str, deep: bool) -> Iterator[Entry]:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            with os.scandir(self.path(folder)) as found:
                for item in found:
                    if passed_over(item.name):
                        continue
                    name, reason = readable(f"{folder}/{item.name}" if folder else item.name)
                    if reason is None and item.is_dir(follow_symlinks=False):
                        if deep:
                            waiting.append(name)
                        yield Entry(name, -1, 0, folder=True)
                    else:
                        yield self._local_entry(name, item.path, item.is_symlink(), reason)

    def look(self, name: str) -> Entry:
        """One entry of a local folder, by a name from outside."""
        path = self.path(name)
        try:
            inside = self._inside(os.path.dirname(path))
            linked = os.path.islink(path)
        except (OSError, ValueError):  # too long, a null character
            return Entry(name, -1, 0, reason="not a usable file name")
        if not inside:
            return Entry(name, -1, 0, reason="it leaves the folder by a link")
        return self._local_entry(name, path, linked, None)

    def _local_entry(self, name: str, path: str, linked: bool, reason: str | None) -> Entry:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return Entry(name, -1, 0, reason=reason or "the file is missing")
        if reason is None and linked and not self._inside(os.path.realpath(path)):
            reason = "it leaves the folder by a link"
        if reason is None and not stat.S_ISREG(found.st_mode):
            reason = "it is not a regular file"
        return Entry(name, found.st_size, found.st_mtime_ns, reason=reason)

    @cached_property
    def _resolved(self) -> str:
        return os.path.realpath(self.base)

    @lru_cache(maxsize=4096)  # noqa: B019 - a manifest names few folders many times
    def _inside(self, path: str) -> bool:
        return os.path.commonpath([self._resolved, os.path.realpath(path)]) == self._resolved

    def info(self, name: str) -> Entry:
        """An entry of today, link or not, with the reason why it cannot be read, if any."""
        if self.local:
            return self._local_entry(name, self.path(name), False, None)
        try:
            return _remote_entry(name, self.files.get_file_info(self.path(name)))
        except STORE_ERRORS as error:
            return Entry(name, -1, 0, reason=f"it cannot be read ({gist(error)})")

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from at any place."""
        return self.files.open_input_file(self.path(name))

    def read(self, name: str, most: int) -> bytes:
        """The first `most` bytes of a file."""
        if not self.local:
            with self.open(name) as remote:
                return remote.read(most)
        # Opening a pipe that has taken the file's place would wait for ever.
        descriptor = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DataError("it is not a regular file")
        with open(descriptor, "rb") as file:
            return file.read(most)


@lru_cache(maxsize=16)
def open_store(root: str) -> Store:
    """The store at `root`; one of each a process, since a bucket's costs a connection."""
    return Store(root)


def locate(images: str) -> tuple[Store, str]:
    """The folder `images` and "", or the folder of the file `images` and the file's name."""
    store = open_store(images if _is_uri(images) else os.path.abspath(os.path.expanduser(images)))
    try:
        kind = store.files.get_file_info(store.base).type
    except STORE_ERRORS as error:
        raise DataError(f"{shown(images)}: cannot be looked at ({gist(error)})") from None
    if kind is fs.FileType.Directory:
        return store, ""
    if kind is fs.FileType.NotFound:
        raise DataError(
            f"{shown(images)}: no such file or folder of pictures: point --images at one, "
            "or run `python -m jobs.prepare_data`"
        )
    if kind is not fs.FileType.File:
        raise DataError(f"{shown(images)}: it is neither a regular file nor a folder")
    head, mark, options = store.root.partition("?") if _is_uri(store.root) else (store.root, "", "")
    folder = head.rstrip("/").rpartition("/")[0] or "/"
    return open_store(folder + mark + options), store.base.rpartition("/")[2]


def passed_over(name: str) -> bool:
    """Whether an entry of this name is not meant as anybody's picture."""
    return name.startswith(".") or name.lower() in LITTER


def unusable(entry: Entry) -> str | None:
    """Why an entry cannot be a picture, before it is opened; None if it may be one."""
    if entry.reason is not None:
        return entry.reason
    if entry.folder:
        return "it is a folder"
    if not entry.name.lower().endswith(SUFFIXES):
        return f"not a picture's suffix ({' '.join(SUFFIXES)})"
    return over_limit(entry.size)


def over_limit(size: int) -> str | None:
    """Why a file of `size` bytes is too large; None if it is not."""
    if size <= MAX_FILE_BYTES:
        return None
    return f"{size} bytes are over the allowed {MAX_FILE_BYTES}"


def readable(name: str) -> tuple[str, str | None]:
    """A name as text that can be written, and a reason if it had to be changed for it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = name.encode("utf-8", "surrogateescape")
        return raw.decode("utf-8", "backslashreplace"), "its name is not UTF-8"
    return name, None


def shown(images: str) -> str:
    """A place as messages may show it: without the keys that a URI may hold."""
    return mask(images).replace(f"://{HIDDEN}@", "://")


def gist(error: BaseException) -> str:
    """The gist of an error of a file system, which may repeat a URI."""
    return shown(" ".join(str(error).split()))[:300] or type(error).__name__


def _is_uri(images: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", images) is not None


def _patient(uri: str) -> str:
    """The URI with a limit of a minute; Google's client would try for a quarter of an hour."""
    if not re.match(r"gc?s://", uri) or "retry_limit_seconds=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds=60"


def _remote_entry(name: str, info: fs.FileInfo) -> Entry:
    if info.type is fs.FileType.NotFound:
        return Entry(name, -1, 0, reason="the file is missing")
    folder = info.type is fs.FileType.Directory
    return Entry(name, -1 if folder else info.size, info.mtime_ns or 0, folder)
