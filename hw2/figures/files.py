"""Pictures and bytes in files."""

from pathlib import Path

from PIL import Image

from hw2.data.files import replacing
from hw2.errors import ConfigError


def write_atomic(path: str | Path, content: Image.Image | bytes) -> None:
    """Write a picture (in the format of the file's suffix) or bytes: wholly or not at all.

    Makes the folder. Raises ConfigError for a suffix that no picture format has.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if isinstance(content, Image.Image) and kind is None:
        raise ConfigError(f"{path}: no picture format has this suffix: use .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as passing:
        if isinstance(content, Image.Image):
            content.save(passing, kind)
        else:
            passing.write_bytes(content)
