"""Pictures and bytes in files."""

from pathlib import Path
from typing import Any

from PIL import Image

from hw2.data.files import replacing


def write_atomic(path: Path, content: Image.Image | bytes, **how: Any) -> None:
    """Write a picture (in the format of the file's suffix) or bytes: wholly or not at all.

    Makes the folder. `how` goes to PIL.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as passing:
        if isinstance(content, Image.Image):
            content.save(passing, Image.registered_extensions()[path.suffix], **how)
        else:
            passing.write_bytes(content)
