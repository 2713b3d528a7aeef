"""Packed splits: one Arrow IPC file, checked on opening and mapped into memory."""

import hashlib
import json
import math
import mmap
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hw2.data.files import open_regular, parse_json, replacing
from hw2.data.tables import BadRow
from hw2.diffusion.objective import DigitBatch

COLUMNS = ("image", "digit", "domain")
# What a header that lies about shape and rows makes NumPy, torch and Python raise.
LIES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class DigitSplit:
    """One split of the digits, in the order of the CSV files, mnistm before svhn.

    The tensors lie in a memory map: let each process call `read_split` rather than send them.

    Attributes:
        images: 0..255.
        digits: 0..9.
        domains: index into ("mnistm", "svhn").
        content_hash: sha256 over labels and decoded pixels.
        bad: the rows that were left out.
    """

    images: UInt8[Tensor, "n 3 s s"]
    digits: Int64[Tensor, " n"]
    domains: Int64[Tensor, " n"]
    content_hash: str
    bad: tuple[BadRow, ...]

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def whole(self) -> DigitBatch:
        """All samples as one batch."""
        return DigitBatch(self.images, self.digits, self.domains)


def content_hash(images: np.ndarray, digits: np.ndarray, domains: np.ndarray) -> str:
    """sha256 over shape, labels and pixels: the same pictures in the same order, the same hash.

    Args:
        images: uint8 (N, 3, S, S); digits: int64 (N,); domains: int64 (N,); all contiguous.
    """
    digest = hashlib.sha256(json.dumps(images.shape).encode())
    for array in (digits, domains, images):
        digest.update(array.data)
    return digest.hexdigest()


def write_pack(
    path: Path,
    images: np.ndarray,
    digits: np.ndarray,
    domains: np.ndarray,
    bad: tuple[BadRow, ...],
) -> None:
    """Write a pack beside its place and rename it there, so that no reader sees half of it.

    Args:
        path: the pack's place; its folder is made.
        images: uint8 (N, 3, S, S), N at least 1; digits: int64 (N,); domains: int64 (N,); all
            contiguous.
        bad: rows that were left out.

    Raises:
        OSError: the folder cannot be written.
    """
    width = images[0].nbytes
    pixels = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(images), [None, pa.py_buffer(images)]
    )
    rows = json.dumps([asdict(row) for row in bad])
    sha256 = content_hash(images, digits, domains)
    about = {
        "shape": json.dumps(images.shape),
        "content_hash": sha256,
        "bad": rows,
        "seal": _seal(sha256, rows),
    }
    batch = pa.record_batch([pixels, pa.array(digits), pa.array(domains)], names=list(COLUMNS))
    batch = batch.replace_schema_metadata(about)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path) as passing,
        pa.OSFile(str(passing), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def open_pack(path: Path) -> DigitSplit | None:
    """Map a pack into memory; None if it is missing, torn, or altered in any byte that counts.

    The map is private: processes share its pages, and a tensor written to by mistake changes
    neither the file nor another process.
    """
    try:
        with open_regular(path) as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        whole = pa.py_buffer(mapped)
        batch = pa.ipc.open_file(whole).get_batch(0)
        about = {key.decode(): value.decode() for key, value in batch.schema.metadata.items()}
        shape = tuple(parse_json(about["shape"]))

        def column(name: str, dtype: torch.dtype, count: int) -> Tensor:
            # Through the writable map rather than Arrow's read-only views, which torch warns about.
            offset = batch.column(name).buffers()[1].address - whole.address
            return torch.frombuffer(mapped, dtype=dtype, offset=offset, count=count)

        images = column("image", torch.uint8, math.prod(shape)).view(shape)
        digits, domains = (column(name, torch.int64, shape[0]) for name in ("digit", "domain"))
        found = content_hash(images.numpy(), digits.numpy(), domains.numpy())
        if about["seal"] != _seal(found, about["bad"]):
            return None
        bad = tuple(BadRow(**row) for row in parse_json(about["bad"]))
        return DigitSplit(images, digits, domains, found, bad)
    except (OSError, pa.ArrowException, *LIES):
        return None


def _seal(sha256: str, rows: str) -> str:
    """Covers the list of bad rows too, which the content hash leaves out."""
    return hashlib.sha256(f"{sha256}{rows}".encode()).hexdigest()
