"""Embeddings of pictures, kept on disk so that other prompts need no pass over the pictures.

A part of a picture set is kept under the hash of its bytes. Beside that, an index leads from what
can be seen without opening the files (names, sizes, times) to that hash, as git's does: a part that
was not touched is not read again, and one that was only moved or copied is not encoded again.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hw2.data.files import replacing
from hw2.data.listing.parts import Part

Prompts = Sequence[Sequence[str]]  # of each class

VERSION = 1  # raise it whenever embeddings of the same bytes change


class EmbeddingStore:
    """The embeddings of one model and preprocessing, under ROOT/key.

    `key` must tell apart whatever decides an embedding but the picture.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / hashlib.sha256(f"{VERSION} {key}".encode()).hexdigest()[:24]

    def _index(self, part: Part) -> Path:
        return self.folder / "index" / part.fingerprint

    def _file(self, content: str) -> Path:
        return self.folder / f"{content}.parquet"

    def content_of(self, part: Part) -> str | None:
        """The content hash of a part whose embeddings are here; None: it must be read."""
        try:
            content = self._index(part).read_text()
        except OSError:
            return None
        return content if self.has(content) else None

    def has(self, content: str) -> bool:
        """Whether the embeddings of a part with this content are here."""
        return self._file(content).is_file()

    def remember(self, part: Part, content: str) -> None:
        """Lead from the untouched `part` to its content."""
        path = self._index(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as passing:
            passing.write_text(content)

    def write(self, content: str, embeddings: np.ndarray, reasons: list[str | None]) -> None:
        """Keep a part: an embedding (float32) for each row without a reason why it is bad."""
        good = np.array([reason is None for reason in reasons])
        width = embeddings.shape[1]
        values = np.zeros((len(reasons), width), np.float32)
        values[good] = embeddings
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)
        table = pa.table({"embedding": column, "reason": pa.array(reasons, pa.string())})
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._file(content)) as passing:
            pq.write_table(table, passing)

    def read(self, content: str) -> tuple[np.ndarray, list[str | None]]:
        """Embeddings of all rows (n, d), zeros for bad ones, and the reasons (None: good)."""
        table = pq.read_table(self._file(content))
        column = table.column("embedding").combine_chunks()
        width = column.type.list_size
        values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        return values, table.column("reason").to_pylist()

    def reasons(self, content: str) -> list[str | None]:
        """Why each row of a part is bad; None: it is good."""
        return pq.read_table(self._file(content), columns=["reason"])["reason"].to_pylist()

    def _texts(self, prompts: Prompts) -> Path:
        key = hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
        return self.folder / "texts" / f"{key}.npz"

    def has_texts(self, prompts: Prompts) -> bool:
        """Whether the embeddings of these classes are here."""
        return self._texts(prompts).is_file()

    def write_texts(self, prompts: Prompts, classes: np.ndarray, scale: float) -> None:
        """Keep the class embeddings (c, d) of `prompts` and the model's scale."""
        path = self._texts(prompts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as passing, passing.open("wb") as file:
            np.savez(file, classes=classes, scale=np.float64(scale))

    def read_texts(self, prompts: Prompts) -> tuple[np.ndarray, float]:
        """What `write_texts` kept."""
        with np.load(self._texts(prompts), allow_pickle=False) as kept:
            return kept["classes"], float(kept["scale"])
