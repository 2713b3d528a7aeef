"""Decoding pictures that may be broken or hostile."""

import contextlib
import errno
import io
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from hw2.disclosure import one_line
from hw2.errors import NO_NAME, DataError, Hw2Error, StorageError

MAX_PIXELS = 64_000_000
MAX_SCANS = 100  # of a JPEG; a progressive one has ten. One of 90 bytes costs as all the picture
# Formats that pictures of a course come in. The others that PIL knows are attack surface; EPS
# even runs a program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def decode(
    path: Path, image_size: int | None = None, *, upright: bool = False, middle: bool = False
) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3), or (image_size, image_size, 3).

    `upright` turns a photograph as its EXIF orientation says, which is else ignored as open_clip,
    torchvision and the course's code do. `middle` takes the middle square alone.

    Grey, palette and 16-bit pictures become RGB and alpha is dropped, as PIL does. Resizing is
    bilinear with antialiasing and does not keep the proportions.

    Raises:
        DataError: the file is missing, not a regular file, not a picture, truncated, or over
            MAX_PIXELS, which the header tells before anything is decoded. The message does not
            name the file.
        StorageError: it cannot be read now, whatever is in it.
    """
    with _opened(path) as opened:
        picture = _rgb(_turned(opened) if upright else opened)
    if middle and picture.width != picture.height:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    if image_size is not None and picture.size != (image_size, image_size):
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def decode_named(path: Path, *, upright: bool = False, middle: bool = False) -> np.ndarray:
    """As `decode`, but the message of its DataError begins with the path."""
    try:
        return decode(path, upright=upright, middle=middle)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def decode_bytes(data: bytes, max_pixels: int = MAX_PIXELS, *, upright: bool = False) -> np.ndarray:
    """Decode an encoded picture to uint8 (H, W, 3), `upright` and refused as by `decode`.

    `max_pixels` in whole millions, at most MAX_PIXELS.
    """
    if not data:
        raise DataError("the file is empty")
    with _opened(io.BytesIO(data), max_pixels) as opened:
        return np.asarray(_rgb(_turned(opened) if upright else opened))


def orientation(path: Path) -> int:
    """The EXIF orientation 1..8 of a picture; 1, upright, where none can be read."""
    try:
        with _opened(path) as opened:
            return _orientation(opened)
    except DataError:
        return 1


def check_sums(path: Path) -> None:
    """Raise DataError for a PNG with a chunk that does not match its checksum.

    Decoding does not tell: PIL passes over the checksums of the pixels' own chunks.
    """
    with _opened(path) as opened:
        opened.verify()


@contextlib.contextmanager
def _opened(source: Path | io.BytesIO, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The picture, not decoded yet; what it raises within becomes DataError with the reason.

    But for want of memory, and for a disk or file server that fails: the next reading may go well.
    """
    if isinstance(source, Path):
        _refuse_irregular(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is stricter
            # Of a broken block beside the picture; what is wrong with the picture itself is raised.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            with Image.open(source, formats=FORMATS) as opened:
                if opened.width * opened.height > max_pixels:
                    size, most = f"{opened.width}x{opened.height}", max_pixels // 10**6
                    raise DataError(f"{size} is over {most} megapixels")
                _refuse_endless(opened)
                yield opened
    except (DataError, MemoryError):  # of memory: no fault of the picture's
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"the picture is over {MAX_PIXELS // 10**6} megapixels") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"not a picture ({', '.join(FORMATS)})") from error
    except Exception as error:  # what PIL raises on broken bytes is open-ended
        if isinstance(error, OSError) and error.errno is not None:
            raise _unread(source, error) from error
        why = one_line(str(error)) or type(error).__name__
        raise DataError(f"broken picture ({why})") from error


def _refuse_irregular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a name with a null character
        raise DataError("the file is missing") from error
    except OSError as error:
        raise _unread(path, error) from error
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise DataError("it is not a regular file")


def _unread(source: Path | io.BytesIO, error: OSError) -> Hw2Error:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, *NO_NAME):
        return DataError("the file is missing")
    return StorageError(f"{source} cannot be read ({error.strerror}): mend that, and try again")


def _refuse_endless(opened: Image.Image) -> None:
    """Raise DataError for a JPEG of so many scans that it would be decoded for hours."""
    if not isinstance(opened, JpegImageFile) or (file := getattr(opened, "fp", None)) is None:
        return
    place, scans, before = file.tell(), 0, b""
    file.seek(0)
    while piece := file.read(2**20):  # 0xff is followed by 0 within the pictures' data
        scans += (before + piece).count(b"\xff\xda")
        before = piece[-1:]
    file.seek(place)
    if scans > MAX_SCANS:
        raise DataError(f"{scans} scans are over {MAX_SCANS}")


def _turned(opened: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says."""
    return ImageOps.exif_transpose(opened) if _orientation(opened) > 1 else opened


def _orientation(opened: Image.Image) -> int:
    try:
        found = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken block beside a good picture; what PIL raises is open-ended
        return 1
    return int(found) if found in range(1, 9) else 1


def _rgb(opened: Image.Image) -> Image.Image:
    if opened.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        return Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8)).convert("RGB")
    if opened.mode == "P" and "transparency" in opened.info:  # PIL warns unless through RGBA
        return opened.convert("RGBA").convert("RGB")
    return opened.convert("RGB")
