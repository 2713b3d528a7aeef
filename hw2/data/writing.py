"""Writing the pictures and tables of a part of the offline tree, or what is missing of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hw2.data.files import replacing
from hw2.progress import progress as progress_bar


def write_pictures(
    folder: Path,
    names: Sequence[str],
    draw: Callable[[int], np.ndarray],
    title: str,
    progress: bool,
    **how: Any,
) -> None:
    """Write picture `draw(place)` as `names[place]` where it is missing; `how` goes to PIL."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    missing = [place for place, name in enumerate(names) if name not in there]
    quiet = not progress or not missing
    with progress_bar(len(missing), f"making {title}", "pictures", quiet=quiet) as bar:
        for place in missing:
            name = names[place]
            kind = "PNG" if name.endswith(".png") else "JPEG"
            with replacing(folder / name) as passing:
                Image.fromarray(draw(place)).save(passing, kind, **how)
            bar.advance()


def write_text(path: Path, text: str) -> None:
    """Write `text` unless it stands there already."""
    if not path.is_file() or path.read_text() != text:
        with replacing(path) as passing:
            passing.write_text(text)
