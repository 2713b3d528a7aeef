"""Matrices with names on both sides: confusion of classes, similarity of pictures and texts."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from hw2.errors import DataError
from hw2.figures.charts import DPI, blank_axes, dress_axes, picture_of
from hw2.figures.fonts import font, wrapped
from hw2.figures.gallery import fitted, lines_of, shortened
from hw2.figures.grid import INK, PAPER
from hw2.metrics.classification import ConfusedPair, worst_pairs

MAX_CLASSES = 60  # whose names can be read on one axis
MAX_WRITTEN = 20  # classes with room for a number in each cell
NAME = 150  # pixels that a name may take
RING = "#d9730d"
EMPTY = "#e4e4e4"  # cells of a class without pictures
TICKS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # of the colour scale
EDGE, GUTTER = 16, 8  # pixels around a similarity matrix, and between its parts
CELL = (84, 46)  # pixels of one of its cells


def confusion_figure(
    confusion: Int64[Tensor, "c c"],
    names: Sequence[str],
    title: str = "",
    worst: Sequence[ConfusedPair] = (),
) -> Image.Image:
    """Shares of each true class (row) by predicted class; the `worst` pairs ringed and listed.

    The colour goes with the root of the share, or rare mistakes would not be seen. Of more than
    60 classes only those of the worst pairs are drawn (of `worst_pairs` if none are given; the
    first 60 where there are no mistakes), as the title then says; shares are still those of whole
    classes. Rows of classes without pictures are grey.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    kept, worst = _kept(confusion, worst)
    if len(kept) < len(names):
        which = "those of the worst pairs" if worst else "the first"
        title = f"{title} ({len(kept)} of {len(names)} classes, {which})".strip()
    counts = confusion[kept][:, kept].cpu()
    shares = (counts / confusion.sum(1)[kept, None].cpu()).numpy()  # nan without pictures

    figure, (axes,) = blank_axes()
    side = len(kept) * min(max(8 / len(kept), 0.17), 0.36)
    height = max(side, 3.5) + 2.6
    size = (max(side, 2.5) + 2.9 + (4.2 if worst else 0), height)
    figure.set_size_inches(size)
    head = wrapped(title, (size[0] - 0.3) * DPI, 21)
    figure.suptitle(head, x=0.01, ha="left", fontsize=14, color=INK, parse_math=False)
    dress_axes(axes, "", "predicted class", "true class")
    axes.grid(False)
    axes.set_facecolor(EMPTY)
    heat = axes.imshow(shares, "Blues", norm=PowerNorm(0.5, 0, 1))
    points = 9 if len(kept) <= 30 else 7.5
    type_ = font(round(points * DPI / 72), *names)
    shown = [shortened(names[i], NAME, type_) for i in kept]
    plain = {"fontsize": points, "parse_math": False}  # a $ in a name is a $
    axes.set_xticks(range(len(kept)), shown, rotation=90, **plain)
    axes.set_yticks(range(len(kept)), shown, **plain)
    bar = figure.colorbar(heat, ax=axes, fraction=0.04, pad=0.02)
    bar.set_ticks(TICKS, labels=[f"{100 * share:.0f} %" for share in TICKS])
    bar.outline.set_visible(False)
    if len(kept) <= MAX_WRITTEN:
        style = {"ha": "center", "va": "center", "fontsize": 8}
        for row, column in counts.nonzero().tolist():
            share = shares[row, column]
            axes.text(column, row, f"{100 * share:.0f}", c=PAPER if share > 0.3 else INK, **style)
    drawn = [pair for pair in worst if {pair.truth, pair.predicted} <= set(kept)]
    for pair in drawn:
        corner = kept.index(pair.predicted) - 0.5, kept.index(pair.truth) - 0.5
        axes.add_patch(
            Rectangle(corner, 1, 1, fill=False, ec=RING, lw=1.8, clip_on=False, zorder=3)
        )
    if worst:
        grid = figure.add_gridspec(1, 2, width_ratios=(size[0] - 4.2, 4.2))
        axes.set_subplotspec(grid[0])
        _list(figure.add_subplot(grid[1]), drawn, names, most=int(height * 3.5) - 3)
    return picture_of(figure)


def similarity_figure(
    values: Float[Tensor, "n c"],
    pictures: UInt8[Tensor, "n 3 h w"],
    texts: Sequence[str],
) -> Image.Image:
    """Cosines of n pictures (columns, above) and c texts (rows, beside), written in their cells.

    As in CLIP's own notebook (Radford et al. 2021). Ringed is the best text of each picture. The
    colour runs from the lowest to the highest value. Raises DataError for values that are not
    finite.
    """
    if not values.isfinite().all():
        raise DataError(f"{int((~values.isfinite()).sum())} similarities are not finite")
    (wide, high), type_ = CELL, font(14, *texts)
    beside = [lines_of(text, 300, type_, 2) for text in texts]
    left = EDGE + round(max(type_.getlength(x) for lines in beside for x in lines)) + GUTTER
    inner = max(left - EDGE + wide * len(pictures), 320)
    top = EDGE + GUTTER
    thumbs = fitted(pictures, wide - 4)
    at = top + thumbs[0].height + GUTTER
    size = (inner + 2 * EDGE, at + high * len(texts) + EDGE)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)

    values = values.detach().cpu().double()
    spread = (values.max() - values.min()).clamp(min=1e-12)
    colours = _colours((values - values.min()) / spread)
    for row, lines in enumerate(beside):
        y = at + row * high
        for i, line in enumerate(lines):
            at_line = left - GUTTER, y + high / 2 - 10 * len(lines) + 18 * i
            draw.text(at_line, line, INK, type_, anchor="ra")
        for column in range(len(pictures)):
            x, colour = left + column * wide, colours[column][row]
            draw.rectangle((x, y, x + wide - 4, y + high - 4), colour)
            ink, text = INK if sum(colour) > 400 else PAPER, f"{values[column, row]:.2f}"
            draw.text((x + wide / 2 - 2, y + high / 2 - 2), text, ink, font(16), anchor="mm")
    for column, (thumb, best) in enumerate(zip(thumbs, values.argmax(1).tolist(), strict=True)):
        x, y = left + column * wide, at + best * high
        canvas.paste(thumb, (x + (wide - 4 - thumb.width) // 2, top))
        draw.rectangle((x - 2, y - 2, x + wide - 2, y + high - 2), outline=RING, width=3)
    return canvas


def _kept(
    confusion: Tensor, worst: Sequence[ConfusedPair]
) -> tuple[list[int], Sequence[ConfusedPair]]:
    """The classes to draw, in order, and the pairs to list."""
    if len(confusion) <= MAX_CLASSES:
        return list(range(len(confusion))), worst
    worst = worst or worst_pairs(confusion, MAX_CLASSES // 3)
    kept: set[int] = set()
    for pair in worst:
        if len(kept | {pair.truth, pair.predicted}) <= MAX_CLASSES:
            kept |= {pair.truth, pair.predicted}
    return sorted(kept) or list(range(MAX_CLASSES)), worst


def _list(axes: Any, pairs: Sequence[ConfusedPair], names: Sequence[str], most: int) -> None:
    """The ringed pairs in words, as many as there is room for."""
    mistakes = "mistake" if len(pairs) == 1 else "mistakes"
    head = f"{len(pairs)} most frequent {mistakes} (ringed):"
    lines = [head, "times (of its class), true → said"]
    type_ = font(14, *names)
    for pair in pairs[:most]:
        truth, said = (shortened(names[i], NAME, type_) for i in (pair.truth, pair.predicted))
        lines.append(f"{pair.times} ({100 * pair.share.value:.0f} %)  {truth} → {said}")
    if len(pairs) > most:
        lines.append(f"and {len(pairs) - most} more")
    axes.axis("off")
    style = {"va": "top", "fontsize": 9, "linespacing": 1.7, "parse_math": False}
    axes.text(0, 1, "\n".join(lines), transform=axes.transAxes, **style).set_in_layout(False)


def _colours(x: Float[Tensor, "r c"]) -> list[list[tuple[int, int, int]]]:
    """White to dark blue for values in [0, 1]."""
    import matplotlib

    shades = matplotlib.colormaps["Blues"](x.numpy(), bytes=True)[..., :3]
    return [[tuple(cell) for cell in row] for row in shades.tolist()]
