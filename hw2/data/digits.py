"""Reading the digits of a data tree: checked once, packed once, then mapped into memory."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hw2.data.images import decode
from hw2.data.layout import SPLITS, Split, csv_path, digits_folder, picture_folder
from hw2.data.pack import DigitSplit, open_pack, write_pack
from hw2.data.tables import BadRow, Table, read_table
from hw2.domains import DOMAINS
from hw2.errors import ConfigError, DataError
from hw2.places import cache_folder
from hw2.progress import progress as progress_bar
from hw2.settings.data import DataConfig

PACK_VERSION = 1  # raise it whenever decoding or the layout of a pack changes
SHOWN = 5  # bad rows that an error lists
KEPT_SECONDS = 7 * 24 * 3600.0


def read_split(
    root: Path,
    split: Split,
    *,
    image_size: int = 28,
    skip_bad: bool = False,
    cache: Path | None = None,
    progress: bool = True,
) -> DigitSplit:
    """Read a split of the data tree; the first call decodes and packs it, later calls map it.

    A pack is found again by the bytes of the CSV files, the size and time of each listed file,
    and the picture size: whatever changes there, the split is packed anew.

    Args:
        root: the data tree, which holds digits/.
        split: "train" or "val".
        image_size: side of the pictures that come back, 1..1024; others are resized.
        skip_bad: leave bad rows out and list them, instead of refusing the split.
        cache: folder for packs, below it one for each tree; by default ROOT/digits/.packed, or
            where that cannot be written, the user's cache folder.
        progress: show a bar on stderr while packing.

    Raises:
        ConfigError: an impossible size or cache folder.
        DataError: a CSV is missing or empty, it has no row that can be used, or rows are bad and
            `skip_bad` is off.
    """
    if not 1 <= image_size <= 1024:
        raise ConfigError(f"image_size={image_size} is out of range: use 1..1024")
    places = [(csv_path(root, domain, split), picture_folder(root, domain)) for domain in DOMAINS]
    tables = [read_table(file, folder) for file, folder in places]
    name = f"{split}-{'-'.join(DOMAINS)}-{image_size}-{_key(tables, image_size)}.arrow"
    own = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]  # a cache may be of many
    folders = [digits_folder(root) / ".packed", cache_folder() / "packed" / own]
    folders = [cache / own] if cache else folders
    pack = next((found for folder in folders if (found := open_pack(folder / name))), None)
    if pack is None:
        pack = _pack(folders, name, tables, image_size, progress)
    bad = _as_here(pack.bad, tables)
    for domain, table in enumerate(tables):
        if domain not in pack.domains:
            own_bad = [row for row in bad if row.file == str(table.file)]
            raise DataError(f"{table.file}: no row can be used: {_listed(own_bad)}")
    if bad and not skip_bad:
        raise DataError(
            f"{len(bad)} bad {'row' if len(bad) == 1 else 'rows'} in the {split} split: "
            f"{_listed(bad)}. Mend them, or leave them out with --data.skip_bad true"
        )
    return replace(pack, bad=bad)


def read_digits(
    data: DataConfig, split: Split, image_size: int, progress: bool = False
) -> DigitSplit:
    """A split of the digits as the settings `data` say."""
    return read_split(
        data.root,
        split,
        image_size=image_size,
        skip_bad=data.skip_bad,
        cache=data.cache,
        progress=progress,
    )


def read_splits(data: DataConfig, image_size: int, progress: bool = False) -> dict[str, DigitSplit]:
    """Both splits, "train" and "val", checked and packed."""
    return {name: read_digits(data, name, image_size, progress) for name in SPLITS}


def _key(tables: list[Table], image_size: int) -> str:
    """Changes with all that the pack depends on, without opening a picture."""
    digest = hashlib.sha256(json.dumps([PACK_VERSION, image_size, DOMAINS]).encode())
    for table in tables:
        digest.update(hashlib.sha256(table.content).digest())
        # Without the file, which is not everywhere written alike: relative, absolute, by a link.
        digest.update(repr(tuple((row.line, row.reason) for row in table.bad)).encode())
        for row in table.rows:
            digest.update(_fingerprint(row.path))
    return digest.hexdigest()[:20]


def _fingerprint(path: Path) -> bytes:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name with a null character
        return b"missing;"
    return b"%d,%d,%d;" % (found.st_size, found.st_mtime_ns, found.st_mode)


def _as_here(bad: Sequence[BadRow], tables: list[Table]) -> tuple[BadRow, ...]:
    """`bad` with the tables' files as they are written here, not as where the split was packed."""
    files = {table.file.parent.name: str(table.file) for table in tables}
    return tuple(replace(row, file=files.get(Path(row.file).parent.name, row.file)) for row in bad)


def _pack(
    folders: list[Path], name: str, tables: list[Table], image_size: int, progress: bool
) -> DigitSplit:
    """Decode all rows and keep them in the first of the folders that can be written."""
    total = sum(len(table.rows) for table in tables)
    images = np.empty((total, 3, image_size, image_size), np.uint8)
    labels: list[tuple[int, int]] = []
    bad: list[BadRow] = []
    with progress_bar(total, "packing", "pictures", quiet=not progress) as bar:
        for domain, table in enumerate(tables):
            broken = list(table.bad)
            for row in table.rows:
                bar.advance()
                try:
                    images[len(labels)] = decode(row.path, image_size).transpose(2, 0, 1)
                except DataError as error:
                    file = os.path.relpath(row.path, table.file.parent / "data")[:200]
                    reason = f"{file!r}: {error}"
                    broken.append(BadRow(str(table.file), row.line, reason))
                else:
                    labels.append((row.digit, domain))
            bad += sorted(broken, key=lambda row: row.line)
    if not labels:
        raise DataError(f"no row can be used: {_listed(bad)}")
    digits, places = np.array(labels, np.int64).T.copy()
    failures = []
    for folder in folders:
        try:
            write_pack(folder / name, images[: len(labels)], digits, places, tuple(bad))
        except OSError as error:
            failures.append(f"{folder} ({error.strerror or error})")
            continue
        _drop_older(folder / name)
        if pack := open_pack(folder / name):
            return pack
        failures.append(f"{folder} (what was written cannot be read back)")
    raise ConfigError(
        f"nowhere to keep the packed split: tried {', '.join(failures)}: "
        "set --data.cache to a folder that can be written"
    )


def _drop_older(path: Path) -> None:
    """Remove packs of the same split whose files have changed, once they are a week old.

    Another node may have a younger one open, and on NFS would lose what it has not read yet.
    """
    prefix, now = path.name.rpartition("-")[0], time.time()
    for other in path.parent.glob(f"{prefix}-*.arrow"):
        with contextlib.suppress(FileNotFoundError):
            if other != path and now - other.stat().st_mtime > KEPT_SECONDS:
                other.unlink()


def _listed(bad: Sequence[BadRow]) -> str:
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return "; ".join(str(row) for row in bad[:SHOWN]) + more
