"""Files as an attacker makes them."""

import io
import json
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import torch


class Trap:
    """An object whose unpickling makes the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def pickles(mark: Path) -> dict[str, bytes]:
    """Files that make `mark` when a plain unpickler reads them, in all of torch's forms."""
    trap = {"state_dict": Trap(mark), "string_to_param": Trap(mark)}
    zipped, old = io.BytesIO(), io.BytesIO()
    torch.save(trap, zipped)
    torch.save(trap, old, _use_new_zipfile_serialization=False)
    plain = pickle.dumps(trap)
    return {"zip": zipped.getvalue(), "old": old.getvalue(), "plain": plain, "tar": _tar(plain)}


def _tar(content: bytes) -> bytes:
    """torch's oldest form, which it unpacks: one member leads out, the others are pickles."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name in ("tensors", "pickle", "../escaped"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def safetensors(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
    """A file with this header, as JSON or as it is, whatever length it says to have."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**other: Any) -> dict[str, Any]:
    """A tensor of four floats in a header, with some of it replaced."""
    return {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | other


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, *chunks: bytes, data: bytes = b"") -> bytes:
    """An RGB PNG of that size by its header, with these chunks before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunks)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def jpeg(width: int, height: int, picture: bytes) -> bytes:
    """A JPEG whose header says another size."""
    at = picture.index(b"\xff\xc0") + 5
    return picture[:at] + struct.pack(">HH", height, width) + picture[at + 4 :]
