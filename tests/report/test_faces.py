"""What the page says of faces."""

import json

import numpy as np
import pytest

from hw2.metrics.intervals import Interval
from hw2.report.content import Content, collect
from hw2.report.faces import _compared, _said_of_distances
from hw2.report.sentences import Said
from hw2.report.texts import Texts
from hw2.yaml_text import read_yaml
from tests.report.reading import Elements, changed, page
from tests.report.small_report import SmallReport, interval


def test_small_errors_are_written_alike(small: SmallReport) -> None:
    error = {"value": 3.26e-5, "low": 0.0, "high": 1.3e-4}
    changed(small.out / "faces/metrics.json", mse=error, mse_by_picture={"00": 3.26e-5})
    trials = json.loads((small.out / "eta/metrics.json").read_text())["trials"]
    trials[0]["scores"]["mse"] = error
    changed(small.out / "eta/metrics.json", trials=trials)
    text = " ".join(Elements(page(collect(small.all()))).text.split())
    assert text.count("0.00003 (0.00000-0.00013)") == 2 and "the largest 0.0000326" in text
    assert "255; η = 0.5: 25 (10-40), η = 1: 50 (20-80))" in text
    assert "255) 0 ·" in text  # of η = 0 from itself, which is exact


def test_the_last_eta_up_to_which_faces_move_away_is_named() -> None:
    apart = {eta: Interval(eta, eta, eta) for eta in (0.0, 0.25, 0.5, 1.0)}
    added = {"0.25": interval(9), "0.5": interval(9), "1": interval(0.01)}
    (said,) = _said_of_distances(0.0, apart, added)
    assert (said.key, said.values["to"]) == ("p2.eta_rises_to", "0.5")
    assert (said.values["first"], said.values["last"]) == ("0", "1")


@pytest.mark.parametrize(
    ("lerp", "order"), [(0.97, "less"), (0.985, "same"), (1.015, "same"), (1.03, "more")]
)
def test_numbers_within_a_fiftieth_are_the_same(lerp: float, order: str) -> None:
    said = _compared("norm", {"slerp": 1.0, "lerp": lerp}, ".2f")
    assert said == Said(f"p2.norm_{order}", {"slerp": "1.00", "lerp": f"{lerp:.2f}"})


def test_faces_that_are_not_met_are_told_by_the_worst(small: SmallReport) -> None:
    errors = {"00": 0.25, "01": 21.5, "02": 3.0}
    changed(small.out / "faces/metrics.json", passed=False, mse_by_picture=errors)
    (said,) = collect(small.all()).parts["given"].said
    assert (said.key, said.values["worst"]) == ("p2.given_failed", "21.5")


def test_etas_may_fall(small: SmallReport) -> None:
    path = small.out / "eta_sheet/config.yaml"
    path.write_text(json.dumps(read_yaml(path) | {"etas": [1.0, 0.0, 0.5]}))
    found = collect(small.all()).parts["etas"]
    assert found.grid.cols == ("η = 1", "η = 0", "η = 0.5")
    assert [text for _, text in found.chart.x_ticks] == ["0", "0.5", "1"]
    ((_, marks),) = found.chart.lines
    told = ["η = 0: 0", "η = 0.5: 25 (10-40)", "η = 1: 50 (20-80)"]
    assert [Texts.of("en").say(found.chart.text(mark)) for mark in marks] == told
    assert Texts.of("zh-TW").say(found.chart.text(marks[1])) == "η = 0.5\uff1a25 (10-40)"
    assert (found.said[0].values["first"], found.said[0].values["last"]) == ("1", "1")
    assert [one.values["name"] for one in found.said[0].values["each"]] == ["η = 0", "η = 0.5"]


def test_what_eta_does_is_told_where_the_limits_show_it(small: SmallReport) -> None:
    parts = collect(small.all()).parts
    assert parts["etas"].said[0].key == "p2.eta_rises"
    added = {"0.5": interval(20, 2), "1": interval(1, 2)}
    changed(small.out / "eta_sheet/metrics.json", added_to_the_eta_below=added)
    trials = json.loads((small.out / "eta/metrics.json").read_text())["trials"]
    trials[1]["scores"]["repeated"] = interval(1.0, 0.0)
    trials[2]["scores"]["repeated"] = interval(0.98, 0.0)  # all but one
    changed(small.out / "eta/metrics.json", trials=trials)
    parts = collect(small.all()).parts
    to, *rest = parts["etas"].said
    assert (to.key, to.values["to"], rest) == ("p2.eta_rises_to", "0.5", [])
    told = Texts.of("en").say(to)
    assert told.startswith("Up to η = 0.5, the larger η") and "from there to η = 1 the" in told
    added = {"0.5": interval(1, 2), "1": interval(20, 2)}
    changed(small.out / "eta_sheet/metrics.json", added_to_the_eta_below=added)
    assert collect(small.all()).parts["etas"].said[0].key == "p2.eta_not_rises"
    said = parts["eta"].said[0]
    assert (said.key, said.values["exact"]) == ("p2.repeats_other", ("0", "0.5"))


def test_faces_distances_are_compared_in_pairs(small: SmallReport) -> None:
    path = small.out / "eta/metrics.json"
    (pair,) = json.loads(path.read_text())["differences"]
    changed(path, differences=[pair | interval(0.5, 0.6)])
    said = collect(small.all()).parts["eta"].said[-1]
    assert said.key == "p2.frechet_same"
    assert Texts.of("en").say(said).endswith("at η = 1, a difference of 0.5 (-0.1 … 1.1) in pairs.")
    changed(path, differences=[pair | interval(0.5, 0.4)])
    assert collect(small.all()).parts["eta"].said[-1].key == "p2.frechet_rises"


def test_lerp_is_compared_with_slerp(small: SmallReport) -> None:
    def kinds() -> list[str]:
        return [one.key for one in collect(small.all()).parts["interpolation"].said]

    path = small.out / "interpolation/metrics.json"
    assert kinds() == ["p2.norm_less", "p2.contrast_less", "p2.jump_more"]
    ways = json.loads(path.read_text())
    near = {key: 0.99 * value for key, value in ways["slerp"].items()}
    changed(path, lerp=near | {"norm_at_the_ends": 55.0, "contrast_at_the_middle": 60.0})
    assert kinds() == ["p2.norm_same", "p2.contrast_more", "p2.jump_same"]
    changed(path, lerp=near | {"norm_at_the_ends": 0.0})
    assert "ZeroDivisionError" in collect(small.all()).missing["interpolation"].error


def test_many_faces_stand_without_their_names(small: SmallReport) -> None:
    for count in (10, 11):
        for n in range(count):
            small.draw(small.out / f"faces/{n:02d}.png", 32)
        changed(small.out / "faces/metrics.json", pictures=count)
        given = collect(small.all()).parts["given"]
        assert given.grid.cols == (() if count == 11 else tuple(f"{n:02d}" for n in range(10)))
        assert (given.said[0].values["n"], given.said[0].values["of"]) == ("4", str(count))


def test_interpolated_faces_go_from_the_first_to_the_second(unchanged: Content) -> None:
    assert unchanged.parts["interpolation"].grid.cols == (
        "0",
        "0.25",
        "0.5",
        "0.75",
        "1",
    )


def test_more_faces_are_shown_than_were_drawn_twice(small: SmallReport) -> None:
    path = small.out / "eta/metrics.json"
    trials = json.loads(path.read_text())["trials"]
    changed(path, trials=[trial | {"samples": 7} for trial in trials])
    for first in (small.out / "eta").rglob("chunk_000000.npz"):
        more = small.random.integers(0, 256, (5, 3, 32, 32), np.uint8)
        np.savez_compressed(first.with_name("chunk_000005.npz"), images=more)
    found = collect(small.all()).parts["eta"]
    for frame in found.frames:
        assert frame.grids[0].about.values["n"] == "7" and frame.grids[0].picture.height == 64
    assert found.said[0].values["n"] == "5"
    assert [one.title for one in found.charts] == ["score.distance", "score.frechet"]
