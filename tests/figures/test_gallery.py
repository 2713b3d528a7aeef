"""Galleries pixel by pixel, and texts that stay in the room they have."""

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.figures.fonts import font
from hw2.figures.gallery import SIDE, GalleryRow, fitted, gallery, lines_of, shortened
from tests.figures.test_grid import noise

LONG = "an_exceedingly_long_class_name_without_any_blank and then a few more words after it"


def runs(inked: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inked, [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def edge_is_paper(picture: Image.Image) -> bool:
    edge = np.asarray(picture).copy()
    edge[2:-2, 2:-2] = 255
    return bool((edge == 255).all())


@pytest.mark.parametrize(
    ("h", "w", "factor"), [(28, 28, 4), (32, 20, 4), (20, 32, 4), (96, 128, 1)]
)
def test_small_pictures_are_enlarged_by_whole_factors(h: int, w: int, factor: int) -> None:
    images = noise(2, 3, h, w)
    for image, found in zip(images, fitted(images), strict=True):
        expected = np.kron(image.permute(1, 2, 0), np.ones((factor, factor, 1), np.uint8))
        np.testing.assert_array_equal(np.asarray(found), expected)


def test_large_pictures_are_reduced_and_keep_their_shape() -> None:
    images = torch.zeros(1, 3, 224, 448, dtype=torch.uint8)
    images[..., 224:] = 200
    (found,) = fitted(images)
    assert found.size == (SIDE, SIDE // 2)
    halves = np.asarray(found)[..., 0]
    assert (halves[:, : SIDE // 2 - 4] < 5).all() and (halves[:, SIDE // 2 + 4 :] > 195).all()
    assert fitted(images, 40)[0].size == (40, 20)
    assert fitted(images.transpose(2, 3), 40)[0].size == (20, 40)
    assert fitted(images[:, :, :1])[0].size == (SIDE, 1)


def test_rows_hold_their_pictures_and_notes_do_not_overlap() -> None:
    images = noise(3, 3, 32, 32)
    rows = [
        GalleryRow("hits", images, [[LONG, "p=0.91"], ["cat"], [LONG, LONG, LONG]]),
        GalleryRow("wrong", images[:0], []),
    ]
    drawn = gallery(rows, LONG + " " + LONG)
    pixels = np.asarray(drawn)
    assert edge_is_paper(drawn)
    for image, left in zip(fitted(images), (8, 152, 296), strict=True):
        columns = pixels[:, left : left + SIDE]
        tops = [y for y in range(200) if (columns[y : y + SIDE] == np.asarray(image)).all()]
        assert len(tops) == 1
        below = pixels[tops[0] + SIDE :, left - 8 :] < 128
        assert not below[:90, :8].any()  # nothing runs into the column from its left
        assert below[8:20, 8 : 8 + SIDE].any()
    # A row without pictures is its label and one line.
    both, one = gallery([rows[1], rows[1]]), gallery([rows[1]])
    lines = [b - a for a, b in runs((np.asarray(one) < 128).any((1, 2)))]
    assert len(lines) == 2 and max(lines) < 20 and both.height > one.height


def test_more_pictures_than_a_line_holds_go_on_below() -> None:
    def columns_and_lines(n: int) -> tuple[int, int]:
        images = torch.zeros(n, 3, 8, 8, dtype=torch.uint8)
        black = (np.asarray(gallery([GalleryRow("", images, [[]] * n)])) == 0).all(2)
        return len(runs(black.any(0))), len(runs(black.any(1)))

    assert columns_and_lines(10) == (10, 1)
    assert columns_and_lines(11) == (10, 2)
    sizes = [
        gallery([GalleryRow("", torch.zeros(n, 3, 8, 8, dtype=torch.uint8), [[]] * n)]).size
        for n in (9, 10, 11, 20, 21)
    ]
    one, full, two, both, three = (height for _, height in sizes)
    assert one == full and two == both == (full + three) / 2 > full
    assert len({width for width, _ in sizes[1:]}) == 1


def test_lines_of_notes_and_titles_stand_below_one_another() -> None:
    pictures = torch.zeros(11, 3, 8, 8, dtype=torch.uint8)
    notes = [["a", "b", "c"], *[[]] * 10]
    dark = (np.asarray(gallery([GalleryRow("", pictures, notes)])) < 128).all(2)
    assert len(runs(dark[:, 8 : 8 + SIDE].any(1))) == 5  # a picture, three lines, a picture
    for words, lines in ((3, 1), (60, 3)):
        titled = gallery([GalleryRow("", pictures[:0], [])], "nnn " * words)
        assert len(runs((np.asarray(titled) < 128).any((1, 2)))) == lines + 1  # and "none"


def test_texts_fit_and_end_in_an_ellipsis_where_they_are_cut() -> None:
    type_ = font(12)
    for text in (LONG, "short", "a " * 80, ""):
        lines = lines_of(text, 128, type_, 2)
        assert len(lines) <= 2 and all(type_.getlength(line) <= 128 for line in lines)
    assert lines_of("one two", 128, type_, 2) == ["one two"]
    just = type_.getlength("aircraft carrier")
    assert lines_of("said: an aircraft carrier", just, type_, 3) == ["said: an", "aircraft carrier"]
    cut = shortened(LONG, 128, type_)
    assert cut.endswith("…") and LONG.startswith(cut[:-1]) and type_.getlength(cut) > 110
    assert shortened(LONG + "x" * 10**5, 128, type_) == cut  # in less than hours
    assert shortened("short", 128, type_) == "short" and shortened("short", 1, type_) == "…"
