"""Writing the pictures and tables of a part of the offline tree, or what is missing of them."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hw2.data.files import replacing
from hw2.errors import NO_WRITING, ConfigError
from hw2.figures.files import write_atomic
from hw2.progress import progress as progress_bar


def write_pictures(
    folder: Path,
    names: Sequence[str],
    draw: Callable[[int], np.ndarray],
    title: str | None,
    **how: Any,
) -> None:
    """Write picture `draw(place)` as `names[place]` where it is missing; `how` goes to PIL.

    `title` is that of a bar; None: without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    missing = [place for place, name in enumerate(names) if name not in there]
    quiet = title is None or not missing
    with progress_bar(len(missing), f"making {title}", "pictures", quiet=quiet) as bar:
        for place in missing:
            write_atomic(folder / names[place], Image.fromarray(draw(place)), **how)
            bar.advance()


def write_text(path: Path, text: str) -> None:
    """Write `text` unless it stands there already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as passing:
            passing.write_text(text, encoding="utf-8")


@contextmanager
def writable(root: Path) -> Iterator[None]:
    """Make a ConfigError of what the system says where the tree `root` cannot be written."""
    try:
        yield
    except OSError as error:
        where = Path(str(error.filename))
        above = root.is_relative_to(where)
        no_folder = error.errno == errno.ENOENT and above  # as in /proc
        refused = error.errno in NO_WRITING and (above or where.is_relative_to(root))
        if not (refused or no_folder):
            raise
        raise ConfigError(
            f"cannot write {where} ({error.strerror}): choose another --out"
        ) from None
