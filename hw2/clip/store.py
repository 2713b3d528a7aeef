"""Embeddings of pictures, kept on disk so that other prompts need no pass over the pictures.

A part of a picture set is kept under the hash of its bytes. Beside that, an index leads from what
can be seen without opening the files (names, sizes, times) to that hash, as git's does: a part that
was not touched is not read again, and one that was only moved or copied is not encoded again.
"""

import hashlib
import json
import re
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hw2.data.arrays import read_arrays
from hw2.data.files import replacing, write_first
from hw2.data.listing.parts import Part
from hw2.data.listing.store import gist
from hw2.distributed.sight import refuse_other_disk
from hw2.errors import ConfigError, DataError

Prompts = Sequence[Sequence[str]]  # of each class

MARK = "mark"  # of this folder alone
OF = "of"  # in a kept file: the hash that it is of, as its name says
VERSION = 1  # raise it whenever embeddings of the same bytes change
# What reading a damaged file may raise.
BROKEN = (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException)


class EmbeddingStore:
    """The embeddings of one model and preprocessing, under ROOT/key.

    `key` must tell apart whatever decides an embedding but the picture. A file that is not whole
    counts as not there, and is written anew.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.folder = root / hashlib.sha256(f"{VERSION} {key}".encode()).hexdigest()[:24]
        self.mark = ""

    def make(self) -> None:
        """Make the folder. Raises ConfigError where nothing can be written."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            mark = self.folder / MARK
            write_first(mark, uuid.uuid4().hex)  # whole at once, as another job may read it
            self.mark = mark.read_text("utf-8")

    def refuse_other_disk(self) -> None:
        """On another node, raise ConfigError unless its folder is the one that was made."""
        refuse_other_disk(self.folder / MARK, self.mark, or_uri=False)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{self.folder.parent}: embeddings cannot be kept there ({gist(error)}): make "
                "room, or choose another folder by --out, or --cache where the job has it"
            ) from None

    @contextmanager
    def _replacing(self, path: Path) -> Iterator[Path]:
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as passing:
                yield passing

    def _index(self, part: Part) -> Path:
        # With the place: another set may have the same names, sizes and (unpacked) times.
        mark = hashlib.sha256(f"{part.root}\0{part.fingerprint}".encode()).hexdigest()
        return self.folder / "index" / mark

    def _file(self, content: str) -> Path:
        return self.folder / f"{content}.parquet"

    def content_of(self, part: Part) -> str | None:
        """The content hash of a part whose embeddings are here; None: it must be read."""
        try:
            content = self._index(part).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return content if re.fullmatch("[0-9a-f]{64}", content) and self.has(content) else None

    def has(self, content: str) -> bool:
        """Whether the embeddings of a part with this content are here, and whole."""
        with suppress(DataError):
            self.read(content)
            return True
        return False

    def remember(self, part: Part, content: str) -> None:
        """Lead from the untouched `part` to its content."""
        with self._replacing(self._index(part)) as passing:
            passing.write_text(content, encoding="utf-8")

    def write(self, content: str, embeddings: np.ndarray, reasons: list[str | None]) -> None:
        """Keep a part: an embedding (float32) for each row without a reason why it is bad."""
        good = np.array([reason is None for reason in reasons])
        width = embeddings.shape[1]
        values = np.zeros((len(reasons), width), np.float32)
        values[good] = embeddings
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)
        table = pa.table({"embedding": column, "reason": pa.array(reasons, pa.string())})
        table = table.replace_schema_metadata({OF: content})
        with self._replacing(self._file(content)) as passing:
            # Random floats: a dictionary makes the file half as large again, and slow.
            pq.write_table(
                table, passing, use_dictionary=False, compression="none", write_page_checksum=True
            )

    def read(self, content: str) -> tuple[np.ndarray, list[str | None]]:
        """Embeddings of all rows (n, d), zeros for bad ones, and the reasons (None: good).

        Raises DataError if they are not there or not whole.
        """
        table = self._table(content, ["embedding", "reason"])
        column = table.column("embedding").combine_chunks()
        width = column.type.list_size
        values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        return values, table.column("reason").to_pylist()

    def reasons(self, content: str) -> list[str | None]:
        """Why each row of a part is bad; None: it is good. Raises as `read`."""
        return self._table(content, ["reason"])["reason"].to_pylist()

    def _table(self, content: str, columns: list[str]) -> pa.Table:
        path = self._file(content)
        with _whole(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            _refuse_bomb(file, path.stat().st_size)
            if (file.schema_arrow.metadata or {}).get(OF.encode()) != content.encode():
                raise ValueError("it is of other pictures")  # as a file that was mistaken for it
            return file.read(columns).select(columns)

    def _texts(self, prompts: Prompts) -> Path:
        return self.folder / "texts" / f"{_key(prompts)}.npz"

    def has_texts(self, prompts: Prompts) -> bool:
        """Whether the embeddings of these classes are here, and whole."""
        with suppress(DataError):
            self.read_texts(prompts)
            return True
        return False

    def write_texts(self, prompts: Prompts, classes: np.ndarray, scale: float) -> None:
        """Keep the class embeddings (c, d) of `prompts` and the model's scale."""
        with self._replacing(self._texts(prompts)) as passing, passing.open("wb") as file:
            np.savez(file, classes=classes, scale=np.float64(scale), of=np.array(_key(prompts)))

    def read_texts(self, prompts: Prompts) -> tuple[np.ndarray, float]:
        """What `write_texts` kept. Raises DataError if it is not there or not whole."""
        path = self._texts(prompts)
        with _whole(path):
            kept = read_arrays(path, path.stat().st_size)  # not packed: a bomb must be
            if str(kept[OF]) != _key(prompts):
                raise ValueError("it is of other prompts")
            return kept["classes"], float(kept["scale"])


def _key(prompts: Prompts) -> str:
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()


def _refuse_bomb(file: pq.ParquetFile, size: int) -> None:
    """Raise ValueError for a table that `write` has not made: it packs nothing, a bomb must."""
    kind, rows = file.schema_arrow.field("embedding").type, file.metadata.num_rows
    if not pa.types.is_fixed_size_list(kind) or rows * kind.list_size * 4 > size:
        raise ValueError(f"{rows} rows in {size} bytes")


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise ValueError("it is not a regular file")
        yield
    except BROKEN as error:
        raise DataError(
            f"{path}: no whole embeddings ({gist(error)}): run the same command again, which "
            "makes them anew"
        ) from None
