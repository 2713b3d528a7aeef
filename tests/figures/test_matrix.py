"""Matrices, read back from their pixels."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from hw2.errors import DataError
from hw2.figures import fonts, matrix
from hw2.figures.gallery import fitted
from hw2.figures.grid import INK, PAPER
from hw2.figures.matrix import EMPTY, RING, _kept, confusion_figure, similarity_figure
from hw2.metrics.classification import worst_pairs
from tests.figures.test_charts import TITLE, near
from tests.figures.test_gallery import LONG, edge_is_paper, runs
from tests.figures.test_grid import noise

DARK, HALF = "#08306b", "#2c7cba"  # matplotlib's "Blues" at 1 and at the root of 1/2


def confused(c: int) -> torch.Tensor:
    """20 pictures a class, class i taken for i + 1 by i % 7 of them."""
    confusion = torch.zeros(c, c, dtype=torch.int64)
    i = torch.arange(c)
    confusion[i, (i + 1) % c] = i % 7
    confusion[i, i] = 20 - i % 7
    return confusion


@pytest.mark.parametrize("c", [10, 60, 70])
def test_no_name_is_cut_off(c: int) -> None:
    names = [f"{i} costs $5 or ${i} {LONG}" for i in range(c)]
    worst = worst_pairs(confused(c), 40)
    assert edge_is_paper(confusion_figure(confused(c), names, TITLE, worst))


def test_cells_are_dark_by_share_and_the_worst_are_ringed() -> None:
    confusion = torch.diag(torch.tensor([5, 50, 500, 0, 5, 5]))
    confusion[4, 0] = 5
    names, worst = list("abcdef"), worst_pairs(confusion, 3)
    assert not near(confusion_figure(confusion, names), RING).any()
    drawn = confusion_figure(confusion, names, "", worst)
    (left, *_, right), (top, *_, bottom) = (near(drawn, RING).any(axis).nonzero()[0]
                                            for axis in (0, 1))  # fmt: skip
    side = right - left - 2
    assert side == pytest.approx(bottom - top - 2, abs=2)  # one square ring
    grey = near(drawn, EMPTY)[:, : left + 7 * side]
    assert grey.sum() == pytest.approx(6 * side**2, rel=0.1)  # the row of a class without pictures
    assert runs(grey.sum(1) > 5 * side)[0][1] == pytest.approx(top, abs=3)  # above that of class 4
    # Four classes are wholly right, of 5 pictures or 500; of one each half is somewhere else. The
    # numbers in the cells and the colour bar move the counts of pixels a little.
    assert near(drawn, DARK).sum() == pytest.approx(4 * side**2, rel=0.12)
    assert near(drawn, HALF).sum() == pytest.approx(2 * side**2, rel=0.12)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What would be drawn."""
    kept: list[Figure] = []
    empty = Image.new("RGB", (1, 1))
    monkeypatch.setattr(matrix, "picture_of", lambda figure: kept.append(figure) or empty)
    return kept


def test_a_matrix_names_what_it_shows(figures: list[Figure]) -> None:
    confusion = torch.tensor([[6, 2, 0], [1, 9, 0], [0, 0, 4]])
    confusion_figure(confusion, list("abc"), "title", worst_pairs(confusion, 2))
    axes, bar, listed = figures[0].axes
    assert figures[0].get_suptitle() == "title"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == list("abc")
    told = {text.get_position(): text.get_text() for text in axes.texts}
    assert told == {(0, 0): "75", (1, 0): "25", (0, 1): "10", (1, 1): "90", (2, 2): "100"}
    colours = {text.get_position(): text.get_color() for text in axes.texts}
    assert (colours[0, 0], colours[1, 0]) == (PAPER, INK)
    assert [label.get_text() for label in bar.get_yticklabels()][-2:] == ["50 %", "100 %"]
    head = ["2 most frequent mistakes (ringed):", "times (of its class), true → said"]
    assert listed.texts[0].get_text().split("\n") == [*head, "2 (25 %)  a → b", "1 (10 %)  b → a"]


@pytest.mark.parametrize(("count", "more"), [(18, []), (20, ["and 2 more"])])
def test_mistakes_without_room_are_counted(
    count: int, more: list[str], figures: list[Figure]
) -> None:
    confusion = torch.ones(5, 5, dtype=torch.int64)
    confusion_figure(confusion, list("abcde"), "", worst_pairs(confusion, count))
    lines = figures[0].axes[2].texts[0].get_text().split("\n")
    assert len(lines) == 20 + len(more) and lines[20:] == more


def test_of_many_classes_the_title_says_which_are_drawn(figures: list[Figure]) -> None:
    names = [f"class {i}" for i in range(70)]
    confusion = confused(70)
    confusion_figure(confusion, names, "t", worst_pairs(confusion, 1))
    confusion_figure(torch.eye(70, dtype=torch.int64), names)
    told = [figure.get_suptitle().replace("\n", " ") for figure in figures]
    which = "(2 of 70 classes, those of the worst pairs)", "(60 of 70 classes, the first)"
    assert told == [f"t {which[0]}", which[1]]
    shown = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    assert shown == [f"class {i}" for i in (6, 7)]  # 6 of 20 of class 6 were taken for 7


def test_of_many_classes_those_of_the_worst_pairs_are_kept() -> None:
    confusion = confused(200)
    kept, worst = _kept(confusion, [])
    assert worst == worst_pairs(confusion, 20)
    assert kept == sorted({x for pair in worst for x in (pair.truth, pair.predicted)})
    many, _ = _kept(confusion, worst_pairs(confusion, 150))
    assert 58 < len(many) <= 60
    confusion_figure(confusion, [str(i) for i in range(200)], worst=worst_pairs(confusion, 150))
    none, _ = _kept(torch.eye(200, dtype=torch.int64), [])
    assert none == list(range(60))
    few = confused(60)
    assert _kept(few, worst_pairs(few, 2)) == (list(range(60)), worst_pairs(few, 2))


def test_shares_are_those_of_whole_classes_where_few_are_drawn(figures: list[Figure]) -> None:
    confusion = torch.diag(torch.full((70,), 10))
    confusion[0, :4] = torch.tensor([5, 3, 1, 1])
    worst = [pair for pair in worst_pairs(confusion, 3) if pair.times == 3]
    confusion_figure(confusion, [str(i) for i in range(70)], worst=worst)
    shares = figures[0].axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[0.5, 0.3], [0, 1]])


def test_similarities_show_each_picture_and_ring_its_best_text() -> None:
    pictures = noise(4, 3, 20, 20)
    values = torch.tensor([[0.1, 0.3, 0.2], [0.2, 0.1, 0.1], [0.1, 0.1, 0.3], [0.1, 0.25, 0.2]])
    drawn = similarity_figure(values, pictures, [LONG, "a", "b"])
    assert edge_is_paper(drawn)
    pixels, ring = np.asarray(drawn), near(drawn, RING)
    left = runs(ring.any(0))[0][0]
    rows = []
    for i, thumb in enumerate(fitted(pictures, 80)):
        h, column = thumb.height, pixels[:, left + 2 + 84 * i : left + 84 * (i + 1)]
        assert any((column[y : y + h, : thumb.width] == np.asarray(thumb)).all()
                   for y in range(120))  # fmt: skip
        sides = runs(ring[:, left + 84 * i + 40])
        assert len(sides) == 2  # above and below one cell
        rows.append(sides[0][0])
    steps = [(y - min(rows)) / 46 for y in rows]
    assert steps == pytest.approx(values.argmax(1).tolist(), abs=0.05)
    # The highest value is the darkest blue, the lowest nearly paper.
    assert near(drawn, DARK).sum() > 2000


def test_similarities_are_written_in_their_cells() -> None:
    values, pictures = torch.tensor([[0.0, 0.15, 0.3]]), noise(1, 3, 20, 20)
    drawn = [similarity_figure(x, pictures, list("abc")) for x in (values, 2 * values)]
    one, two = map(np.asarray, drawn)  # the colours are the same
    (a, _), (b, _) = runs((one != two).any((1, 2)))  # 0 stays 0
    assert b - a == pytest.approx(46, abs=2)
    left = runs(near(drawn[0], RING).any(0))[0][0]
    top = a - 46 - 3
    assert near(drawn[0], INK)[top : top + 20, left : left + 84].any()  # on a pale cell


def test_texts_of_two_lines_are_written_whole() -> None:
    texts = ["n " * 30 + end for end in ("xx", "yy")]
    drawn = [similarity_figure(torch.eye(1), noise(1, 3, 20, 20), [x]).tobytes() for x in texts]
    assert drawn[0] != drawn[1]


def test_similarities_that_are_all_alike_are_pale() -> None:
    drawn = np.asarray(similarity_figure(torch.full((1, 1), 0.3), noise(1, 3, 20, 20), ["a"]))
    assert (drawn[-60:, :].sum(2) == 0).sum() == 0


def test_similarities_that_cannot_be_drawn_are_refused() -> None:
    values, pictures = torch.rand(2, 3), noise(2, 3, 4, 4)
    values[1, 2] = torch.nan
    with pytest.raises(DataError, match="1 similarities are not finite"):
        similarity_figure(values, pictures, list("abc"))


def test_chinese_names_are_drawn_by_a_font_that_has_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def drawn(names: list[str]) -> list[np.ndarray]:
        similar = similarity_figure(
            torch.eye(2), noise(2, 3, 32, 32), [f"一張{name}" for name in names]
        )
        matrix = confusion_figure(torch.tensor([[5, 0], [5, 0]]), names)
        return [np.asarray(picture) for picture in (similar, matrix)]

    def alike(a: list[np.ndarray], b: list[np.ndarray]) -> list[bool]:
        return [np.array_equal(x, y) for x, y in zip(a, b, strict=True)]

    first, other = ["紅磚", "橘貓"], ["綠茶", "黑狗"]
    if fonts._chinese():  # else a box stands for each
        assert alike(drawn(first), drawn(other)) == [False, False]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(fonts, "_chinese", lambda: None)
    fonts._tell_once.cache_clear()
    fonts.font(12, "plain\n", "é")
    assert capsys.readouterr().err == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert alike(drawn(first), drawn(other)) == [True, True]
    assert capsys.readouterr().err.count("fonts-noto-cjk") == 1
