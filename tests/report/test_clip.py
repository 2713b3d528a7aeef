"""What the page says of zero-shot classification."""

import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hw2.report.confusions import Matrix, worst
from hw2.report.content import Content, collect
from tests.report.reading import Elements, changed, page
from tests.report.small_report import CLASSES, SmallReport


def test_prompts_differ_by_the_adjusted_p_and_b_stands_before_a(small: SmallReport) -> None:
    pair = json.loads((small.out / "clip/metrics.json").read_text())["comparisons"][0]
    pair |= {"only_a_right": 3, "only_b_right": 12, "p": 0.03, "p_holm": 0.06}
    changed(small.out / "clip/metrics.json", comparisons=[pair])
    found = collect(small.all()).parts["clip"]
    (row,) = found.comparisons.rows
    assert [cell.text for cell in row[2:]] == ["12 : 3", "0.06"]
    assert [one.key for one in found.said][1:] == ["p3.prompts_same"]


def test_the_worst_confusions_are_told_to_be_picked(unchanged: Content) -> None:
    text = " ".join(Elements(page(unchanged)).text.split())
    assert (
        "2 of 6 possible ones (of equal ones the first), picked because they came out largest"
        in text
    )


def test_one_wrong_of_fifty_looks_otherwise_than_nine() -> None:
    cells = ((0, 0, 40), (0, 1, 1), (0, 2, 9), (1, 1, 50), (2, 2, 50))
    matrix = Matrix(CLASSES, cells, (50, 50, 50), {}, 2)
    seen = [matrix.opacity(place) for place in range(len(cells))]
    assert seen[2] > 2 * seen[1] and seen[3] > seen[0]


def test_confusions_are_listed_from_the_most_frequent_as_shares_of_the_true_class() -> None:
    cells = ((0, 1, 1), (0, 2, 9), (1, 0, 4), (2, 2, 20))
    rows = worst(Matrix(CLASSES, cells, (50, 10, 20), {}, 0)).rows
    brick, grass, coin = CLASSES
    named = [(brick, coin, "9"), (grass, brick, "4"), (brick, grass, "1")]
    assert [tuple(cell.text for cell in row[:3]) for row in rows] == named
    assert [row[3].order for row in rows] == [9 / 50, 4 / 10, 1 / 50]


def test_the_most_frequent_confusion_is_shown_first(small: SmallReport) -> None:
    path = small.out / "clip/predictions/simple/part-00000.parquet"
    table = pq.read_table(path).to_pydict()
    table["top5"][6:8] = [[CLASSES[i] for i in (0, 2, 1)]] * 2
    pq.write_table(pa.table(table), path)
    matrix = collect(small.all()).parts["clip"].matrix
    assert matrix.cells[matrix.first] == (2, 0, 3)


def test_hits_and_misses_are_told_with_what_they_are(
    small: SmallReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.draw(small.data / "clip_zeroshot/val/0_2.png", 200)  # the brick that was taken for grass
    clip = collect(small.all()).parts["clip"]
    brick, grass, coin = CLASSES
    assert len(clip.hits) == 5 and all(one.true == one.said for one in clip.hits)
    missed = {(one.true, one.said): one for one in clip.misses}
    assert missed.keys() == {(brick, grass), (coin, brick)}
    assert missed[brick, grass].picture.width == 64 and missed[coin, brick].picture.width == 32
    (told,) = clip.matrix.examples[clip.matrix.first]
    assert (told.true, told.said, told.probability) == (brick, grass, "70.0 %")
    assert [len(clip.matrix.examples[place]) for place in range(5)] == [2, 1, 3, 1, 2]
    assert clip.matrix.totals == (3, 3, 3)
    monkeypatch.setattr("hw2.report.confusions.MAX_CELLS", 1)
    assert [*collect(small.all()).parts["clip"].matrix.examples] == [clip.matrix.first]


def test_scores_of_prompts_are_told_with_chance(unchanged: Content) -> None:
    clip = unchanged.parts["clip"]
    told = {"prompts": "simple", "top1": "77.8 % (75.8-79.8)", "top5": "100.0 % (98.0-102.0)"}
    assert clip.said[0].values == told | {"chance": "33.3 %", "n": "9"}
    (row,) = clip.comparisons.rows
    assert (row[0].text, row[1].order) == ("cifar \N{MINUS SIGN} simple", 0.1)


def test_a_classified_picture_that_is_gone_is_told(small: SmallReport) -> None:
    (small.data / "clip_zeroshot/val/1_4.png").unlink()
    told = collect(small.all()).missing["clip"].error
    assert told == "1_4.png was classified and is no longer among the pictures"


def test_guessing_is_beaten_where_the_limits_show_it(small: SmallReport) -> None:
    for chance, key in ((0.75, "p3.accuracy_above"), (0.77, "p3.accuracy_not_above")):
        changed(small.out / "clip/metrics.json", chance=chance)  # top-1 is 0.778, at least 0.758
        assert collect(small.all()).parts["clip"].said[0].key == key


def test_the_cell_that_is_shown_first_is_ringed(unchanged: Content) -> None:
    made = Elements(page(unchanged))
    (ring,) = (rect for rect in made.all("rect") if rect["class"] == "ring")
    (cell,) = (rect for rect in made.all("rect") if rect.get("data-cell") == "1")
    assert "hidden" not in ring  # brick, of which one was taken for grass
    assert [float(ring[at] or 0) + 1.5 for at in "xy"] == [float(cell[at] or 0) for at in "xy"]


def test_cells_of_many_classes_fill_their_places(unchanged: Content) -> None:
    clip = unchanged.parts["clip"]
    for count in (3, 1000, 20_000):
        cells = ((0, 0, 1), (0, count - 1, 1))
        names = tuple(f"class {n}" for n in range(count))
        matrix = Matrix(names, cells, (2,) * count, {0: clip.matrix.examples[0]}, 0)
        many = {**unchanged.parts, "clip": dataclasses.replace(clip, matrix=matrix)}
        made = Elements(page(dataclasses.replace(unchanged, parts=many)))
        (ground,) = (rect for rect in made.all("rect") if rect["class"] == "ground")
        drawn = [rect for rect in made.all("rect") if (rect["class"] or "").startswith("hit")]
        share = [float(rect["width"] or 0) * count / float(ground["width"] or 0) for rect in drawn]
        assert len(share) == 2 and all(0.85 < one < 1.15 for one in share)
