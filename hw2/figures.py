"""Figures: tensors and tables in, PIL pictures out."""

import io
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hw2.errors import ConfigError, DataError
from hw2.metrics.intervals import Interval

Pictures = Float[Tensor, "n 3 h w"] | UInt8[Tensor, "n 3 h w"]
Labels = Sequence[object] | None
PictureGrid = Float[Tensor, "rows cols 3 h w"] | UInt8[Tensor, "rows cols 3 h w"]

GAP = 2  # pixels between two pictures
MARGIN = 8  # pixels around a sheet, and between labels and pictures
INK, FAINT, PAPER = "#222222", "#d9d9d9", "#ffffff"
COLOURS = ("#2b6cb0", "#d9730d", "#2f855a", "#b83280", "#6b46c1", "#718096")


def to_uint8(x: Pictures) -> UInt8[Tensor, "n h w 3"]:
    """The fixed map [-1, 1] -> 0..255 of every figure and file, channels last.

    Clamped, rounded half up, the same for every picture: brightness is never stretched. nan
    becomes 128, mid-grey. uint8 pictures only change their layout.
    """
    if x.dtype != torch.uint8:
        x = x.detach().float().nan_to_num(nan=0.0)
        x = ((x.clamp(-1, 1) + 1) * 127.5 + 0.5).floor().to(torch.uint8)
    return x.movedim(1, -1).contiguous()


def to_pil(x: Pictures) -> list[Image.Image]:
    """One RGB picture each of pictures in [-1, 1], or 0..255 if uint8."""
    return [Image.fromarray(picture.numpy()) for picture in to_uint8(x).cpu()]


def sheet(
    images: PictureGrid,
    row_labels: Labels = None,
    col_labels: Labels = None,
    title: str = "",
    scale: int = 2,
) -> Image.Image:
    """A grid of pictures in [-1, 1] (or uint8), each pixel a square of `scale` screen pixels.

    Labels stand left of the rows and above the columns, in a smaller type where a column is
    narrow. The grid has GAP pixels between pictures, and MARGIN on each side without a label.
    Raises DataError for no pictures or a wrong number of labels.
    """
    rows, cols, _, h, w = images.shape
    if not images.numel():
        raise DataError(f"a sheet of {rows} x {cols} pictures of {h} x {w}: nothing to draw")
    for name, labels, count in (("row", row_labels, rows), ("column", col_labels, cols)):
        if labels and len(labels) != count:
            raise DataError(f"{len(labels)} {name} labels for {count} {name}s of pictures")
    beside, above = ([str(x) for x in labels or ()] for labels in (row_labels, col_labels))
    grid = _grid(images, scale)
    font = _fitting(above, w * scale, largest=15)
    title_font = _fitting([title], grid.width, largest=17)

    left = MARGIN + max((math.ceil(font.getlength(text)) + MARGIN for text in beside), default=0)
    labels_at = MARGIN + (round(1.2 * title_font.size) + MARGIN if title else 0)
    top = labels_at + (round(1.2 * font.size) + MARGIN // 2 if above else 0)
    width = max(left + grid.width, MARGIN + math.ceil(title_font.getlength(title))) + MARGIN
    canvas = Image.new("RGB", (width, top + grid.height + MARGIN), PAPER)
    canvas.paste(grid, (left, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), title, INK, title_font, anchor="la")
    for c, text in enumerate(above):
        middle = left + c * (w * scale + GAP) + w * scale / 2
        draw.text((middle, labels_at), text, INK, font, anchor="ma")
    for r, text in enumerate(beside):
        middle = top + r * (h * scale + GAP) + h * scale / 2
        draw.text((left - MARGIN, middle), text, INK, font, anchor="rm")
    return canvas


def strip(images: Pictures, labels: Labels = None, title: str = "", scale: int = 2) -> Image.Image:
    """One row of pictures with labels above, such as the states of a reverse process."""
    return sheet(images[None], col_labels=labels, title=title, scale=scale)


def animation(frames: Pictures, scale: int = 4, ms: int = 80, hold_ms: int = 1500) -> bytes:
    """An endless GIF of pictures in [-1, 1], `ms` milliseconds each, the last one `hold_ms`.

    GIF keeps time in hundredths of a second. Equal neighbours are one longer frame.
    """
    if not len(frames):
        raise DataError("an animation of no frames")
    # A palette for each frame: one for all would draw the noise well and the picture badly.
    first, *rest = [_grid(frame[None, None], scale).quantize(256) for frame in frames]
    durations = [ms] * len(rest) + [hold_ms]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    return buffer.getvalue()


def write_atomic(path: str | Path, content: Image.Image | bytes) -> None:
    """Write a picture (in the format of the file's suffix) or bytes: wholly or not at all.

    Makes the folder. Raises ConfigError for a suffix that no picture format has.
    """
    path = Path(path)
    if isinstance(content, Image.Image):
        kind = Image.registered_extensions().get(path.suffix.lower())
        if kind is None:
            raise ConfigError(f"{path}: no picture format has this suffix: use .png")
        buffer = io.BytesIO()
        content.save(buffer, kind)
        content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by their owner alone, and the rename keeps that.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def curves(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str = "", x: str = "step"
) -> Image.Image:
    """Each of `keys` over `x`, as logged (faint) and smoothed (bold).

    Smoothed is the mean over a twentieth of the points, centred so that it does not lag, and
    narrower near the ends. Rows without a key or with a value not finite are passed over.
    """
    axes = _axes(title, x, keys[0] if len(keys) == 1 else "")
    for key, colour in zip(keys, cycle(COLOURS), strict=False):
        points = [(row[x], float(row[key])) for row in rows if row.get(key) is not None]
        points = [point for point in points if math.isfinite(point[1])]
        at, values = [p[0] for p in points], [p[1] for p in points]
        axes.plot(at, values, color=colour, alpha=0.25, linewidth=1)
        axes.plot(at, _smoothed(values), color=colour, linewidth=1.8, label=key)
    return _drawn(axes, legend=len(keys) > 1)


def bar(
    labels: Sequence[object], intervals: Sequence[Interval], title: str = "", y: str = ""
) -> Image.Image:
    """A bar with its limits for each label. Raises DataError for unequal numbers."""
    if len(labels) != len(intervals):
        raise DataError(f"{len(labels)} labels for {len(intervals)} bars")
    axes = _axes(title, "", y)
    at = range(len(labels))
    heights = [i.value for i in intervals]
    axes.bar(at, heights, color="#8ab4d8", width=0.7)
    axes.errorbar(at, heights, _arms(intervals), fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    axes.set_xticks(at, [str(label) for label in labels])
    return _drawn(axes)


def interval_curve(
    at: Sequence[float | int],
    lines: Mapping[str, Sequence[Interval]],
    title: str = "",
    x: str = "",
    y: str = "",
) -> Image.Image:
    """One line with limits for each name in `lines`, over the values `at`.

    Raises DataError for a line of another length than `at`.
    """
    axes = _axes(title, x, y)
    for (name, intervals), colour in zip(lines.items(), cycle(COLOURS), strict=False):
        if len(intervals) != len(at):
            raise DataError(f"{name}: {len(intervals)} points over {len(at)} values of {x or 'x'}")
        heights, arms = [i.value for i in intervals], _arms(intervals)
        axes.errorbar(at, heights, arms, c=colour, fmt="o-", ms=4, capsize=3, label=name)
    return _drawn(axes, legend=len(lines) > 1)


def _grid(images: Tensor, scale: int) -> Image.Image:
    """(rows, cols, 3, h, w) as one picture on PAPER, GAP pixels between."""
    rows, cols, _, h, w = images.shape
    if scale < 1:
        raise ConfigError(f"scale={scale}: need 1 or more screen pixels a pixel")
    cells = to_uint8(images.flatten(0, 1)).cpu()
    cells = cells.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    h, w = h * scale, w * scale
    canvas = torch.full((rows, h + GAP, cols, w + GAP, 3), 255, dtype=torch.uint8)
    canvas[:, :h, :, :w] = cells.view(rows, cols, h, w, 3).transpose(1, 2)
    canvas = canvas.view(rows * (h + GAP), cols * (w + GAP), 3)[:-GAP, :-GAP]
    return Image.fromarray(canvas.contiguous().numpy())


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: the same on every machine."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _fitting(texts: Sequence[str], width: int, largest: int) -> ImageFont.FreeTypeFont:
    """The largest type in which each text is at most `width` pixels wide, but a readable one."""
    fonts = map(_font, range(largest, 9, -1))
    return next((f for f in fonts if all(f.getlength(t) <= width for t in texts)), _font(9))


def _smoothed(values: Sequence[float]) -> list[float]:
    sums = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    i = torch.arange(len(values))
    reach = torch.minimum(i, i.flip(0)).clamp(max=len(values) // 40)
    return ((sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1)).tolist()


def _arms(intervals: Sequence[Interval]) -> list[list[float]]:
    # matplotlib refuses arms below 0, which rounding can leave.
    below = [max(i.value - i.low, 0) for i in intervals]
    return [below, [max(i.high - i.value, 0) for i in intervals]]


def _axes(title: str, x: str, y: str) -> Any:
    """matplotlib Axes on a Figure of their own: pyplot would keep it in a global list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained", facecolor=PAPER)
    axes = figure.add_subplot(axisbelow=True, xlabel=x, ylabel=y)
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
    return axes


def _drawn(axes: Any, legend: bool = False) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if legend:
        axes.legend(frameon=False)
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    size = canvas.get_width_height()
    return Image.frombytes("RGBA", size, canvas.buffer_rgba()).convert("RGB")
