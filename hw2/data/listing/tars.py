"""Listing pictures in webdataset tars, without reading them."""

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from hw2.data.images import SUFFIXES
from hw2.data.listing.files import class_of_name
from hw2.data.listing.rows import Classes, Rows
from hw2.data.listing.store import STORE_ERRORS, Entry, Store, gist, over_limit, readable

BLOCK = 512  # of a tar
LOCAL_READ, REMOTE_READ = 2**14, 2**22  # bytes read at once: a bucket answers slowly
MAX_SIZE = 2**63 - 1  # that a listing can hold; a header may say more
MAX_TEXT = 2**16  # long names, PAX headers and .cls files


class Member(NamedTuple):
    """A member of a tar: where its bytes lie."""

    name: str
    offset: int
    size: int
    regular: bool


class TornTar(Exception):
    """What follows cannot be read; the message says why and where."""


class Window:
    """Random access in large pieces."""

    def __init__(self, file: pa.NativeFile, piece: int) -> None:
        self._file, self._piece = file, piece
        self._first, self._bytes = 0, b""

    def at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on; fewer than `length` where the file ends before."""
        start = offset - self._first
        if start < 0 or start + length > len(self._bytes):
            self._first, start = offset, 0
            self._bytes = self._file.read_at(max(length, self._piece), offset)
        return self._bytes[start : start + length]


def list_tars(store: Store, shards: list[Entry], classes: Classes, rows: Rows) -> None:
    """The pictures of all shards, in the order in which they lie there."""
    for shard in shards:
        reason = shard.reason
        if reason is None:
            try:
                with store.open(shard.name) as file:
                    window = Window(file, LOCAL_READ if store.local else REMOTE_READ)
                    reason = _list_shard(shard, window, classes, rows)
            except STORE_ERRORS as error:
                reason = f"it cannot be read ({gist(error)})"
        if reason is not None:
            rows.add_entry(shard, reason)


def _list_shard(shard: Entry, window: Window, classes: Classes, rows: Rows) -> str | None:
    """Add the pictures of a shard; why it breaks off and loses the rest, or None if it is whole."""
    pictures: list[tuple[Member, str | None]] = []
    texts: dict[str, bytes] = {}
    torn, seen = None, False
    try:
        for member in members(window, shard.size):
            seen = True
            name, reason = readable(member.name)
            base = name.rpartition("/")[2]
            if base.startswith("."):
                continue
            if base.lower().endswith(SUFFIXES):
                pictures.append((member._replace(name=name), reason))
            elif base.lower().endswith(".cls") and member.regular:
                texts[_key(name)] = window.at(member.offset, min(member.size, MAX_TEXT))
    except TornTar as error:
        whole = "the tar breaks off" if seen else "it is not a plain tar"
        torn = f"{whole}: {error}"
    for member, reason in pictures:
        name, label = f"{shard.name}/{member.name}", -1
        if reason is None and not member.regular:
            reason = "it is not a regular file"
        if reason is None and member.offset + member.size > shard.size:
            reason = "the tar ends within it"
        reason = reason or over_limit(member.size)
        if reason is None:
            text = texts.get(_key(member.name))
            label, reason = (
                class_of_name(name, classes)
                if text is None
                else _class_of_text(text, name, classes)
            )
        place = member.offset, member.size, shard.mtime_ns
        rows.add((shard.name, name, *place, label, reason))
    return torn


def _key(name: str) -> str:
    """What the members of a sample share: webdataset cuts at the first dot of the file's name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _class_of_text(content: bytes, name: str, classes: Classes) -> tuple[int, str | None]:
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        return -1, "its .cls is not a text"
    return (classes.find(text, name), None) if text else (-1, "its .cls is empty")


def members(window: Window, size: int) -> Iterator[Member]:
    """The members of a tar of `size` bytes, by their headers alone.

    tarfile's own reader takes a broken header after the first for the end of the archive, and
    keeps an object a member.

    Raises:
        TornTar: a header is broken, or a member goes beyond the end, after it was yielded.
    """
    position, name, length = 0, "", -1
    while position < size:  # the two blocks of zeros at the end may be missing
        header = window.at(position, BLOCK)
        if header == bytes(BLOCK):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise TornTar(f"{error} at byte {position}") from None
        long = info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        pax = info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
        here, position = position, position + BLOCK
        if long or pax:
            if not 0 <= info.size <= MAX_TEXT:
                raise TornTar(f"a header of {info.size} bytes at byte {here}")
            content = window.at(position, info.size)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif pax and info.type != tarfile.XGLTYPE:
                name, length = _pax(content, here, name, length)
            position += -(-info.size // BLOCK) * BLOCK
            continue
        if length < 0:
            length = info.size
        if length < 0 or info.type == tarfile.GNUTYPE_SPARSE:
            raise TornTar(f"a member of an unknown kind at byte {here}")
        if length > MAX_SIZE:
            raise TornTar(f"a member of {length} bytes at byte {here}")
        yield Member((name or info.name).removeprefix("./"), position, length, info.isreg())
        # Links say a size that they do not have.
        filled = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        position += -(-length // BLOCK) * BLOCK if filled else 0
        if filled and here + BLOCK + length > size:
            raise TornTar(f"a member ends at byte {here + BLOCK + length} of {size}")
        name, length = "", -1


def _pax(content: bytes, here: int, name: str, length: int) -> tuple[str, int]:
    """Name and size of the next member, out of records "LENGTH KEY=VALUE\\n" of a PAX header."""
    while content and content[0]:
        try:
            count = int(content[: content.index(b" ")])
            key, _, value = (
                content[content.index(b" ") + 1 : count].removesuffix(b"\n").partition(b"=")
            )
            if not 0 < count <= len(content):
                raise ValueError
            if key == b"path":
                name = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                length = int(value)
        except ValueError:
            raise TornTar(f"a broken PAX header at byte {here}") from None
        content = content[count:]
    return name, length
