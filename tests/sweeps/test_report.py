"""What a sweep leaves: figures, tables, metrics.json, and what it prints."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.errors import TrialsFailed
from hw2.figures.charts import Panel
from hw2.figures.front import FrontPoint
from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.metrics.jackknife import Estimate
from hw2.runlog.tracker import Tracker
from hw2.sweeps.figures import MAX_LINES
from hw2.sweeps.report import report_sweep
from hw2.sweeps.shown import Metric, Shown
from hw2.sweeps.space import Point
from hw2.sweeps.trial import Report, TrialResult, trial_folder
from tests.sweeps.toy import toy_config

SQUARE = Image.new("RGB", (8, 8))
SHOWN = Shown(
    {"y": Metric("the mean", "y", ".1%"), "spread": Metric("the spread", "spread")},
    front=("spread", "y"),
)


def trial(out: Path, point: Point, y: float = 0.5, **more: Any) -> TrialResult:
    scores = {"y": Interval(y, y - 0.1, y + 0.1), "spread": Interval(1 - y, 0.3 - y, 1.5 - y)}
    outcomes = {"y": np.full(10, y)}
    settings = {"reports": (Report(10, scores),), "outcomes": outcomes, "seconds": 1.25} | more
    return TrialResult(point, trial_folder(out, point), **settings)


def report(
    out: Path, trials: list[TrialResult], shown: Shown = SHOWN, **more: Any
) -> dict[str, Any]:
    """The report's metrics.json; the tracker has a journal and no store."""
    out.mkdir(exist_ok=True)
    keys = list(trials[0].point)
    space = {key: {"grid": [trials[0].point[key]]} for key in keys}
    tracker = Tracker(out, "run", None, owner=True)
    try:
        report_sweep(toy_config(out, space=space, **more), shown, trials, tracker)
    finally:
        tracker.close()
    return json.loads((out / "metrics.json").read_text())


def figures(out: Path) -> set[str]:
    found = sorted((out / "figures").glob("*.png"))
    for path in found:
        with Image.open(path) as picture:
            assert len(picture.convert("L").getcolors() or []) > 5  # something is drawn
    return {path.name for path in found}


def test_numbers_over_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = [(w, steps) for w in (2.0, 0, 1.0) for steps in (20, 10)]
    trials = [trial(tmp_path, {"w": w, "steps": s}, w / 4 + s / 100) for w, s in points]
    kept = report(tmp_path, trials, baseline={"w": 0})
    assert figures(tmp_path) == {"curves.png", "differences.png", "front.png"}
    shown = [(t["point"]["w"], t["point"]["steps"]) for t in kept["trials"]]
    assert shown == [(0, 10), (0, 20), (1, 10), (1, 20), (2, 10), (2, 20)]
    assert kept["best"]["point"] == {"w": 2, "steps": 20}
    found = [
        (d["point"]["w"], d["baseline"]["w"], round(d["value"], 9)) for d in kept["differences"]
    ]
    assert found == [(1, 0, 0.25), (1, 0, 0.25), (2, 0, 0.5), (2, 0, 0.5)]
    with (tmp_path / "tables/differences.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["higher"] * 4
    printed = capsys.readouterr().out
    assert "chosen (best, max y): w=2, steps=20: 70.0 % (60.0-80.0)" in printed
    assert f"figures: {tmp_path / 'figures'}" in printed
    assert "less that of w=0, on the same noises; shares in points:\n" in printed
    assert "*: shown to differ; limits of each alone, not adjusted for 4\n" in printed
    row = next(line for line in printed.splitlines() if "50.0 (50.0-50.0) *" in line)
    assert row.split("│")[1].strip() == "w=2, steps=10"


def test_settings_that_look_alike_have_rows_of_their_own_and_the_best_all_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y = np.linspace(0, 1, 10)
    trials = [
        trial(tmp_path, {"w": w}, value, outcomes={"y": y + value})
        for w, value in ((0.0, 0.1), (1.23412, 0.2), (1.23438, 0.3))
    ]
    report(tmp_path, trials, baseline={"w": 0.0})
    told = capsys.readouterr().out
    differences = told.partition("less that of w=0")[2].partition("*: shown")[0]
    assert differences.count("w=1.234 ") == 2
    chosen = next(line for line in told.splitlines() if line.startswith("chosen"))
    assert "w=1.23438:" in chosen  # y is most


def test_a_value_stands_alone_only_where_it_is_exact() -> None:
    metric = Metric("the share", "share", ".1%")
    assert metric.shown(Interval(0.5, 0.5, 0.5)) == "0.5"
    assert metric.shown(Interval(0.0, 0.0, 0.04)) == "0.0 % (0.0-4.0)"  # none of a few
    assert metric.shown(Interval(1.0, 0.96, 1.0)) == "100.0 % (96.0-100.0)"


def test_an_interval_in_a_table_is_one_word(tmp_path: Path) -> None:
    trials = [trial(tmp_path, {"interval": at}) for at in ([0.0, 1.0], [0.25, 0.75])]
    report(tmp_path, trials, baseline={"interval": [0.0, 1.0]})
    with (tmp_path / "tables/trials.csv").open() as file:
        assert [row["interval"] for row in csv.DictReader(file)] == ["0.0-1.0", "0.25-0.75"]
    with (tmp_path / "tables/differences.csv").open() as file:
        rows = [(row["interval"], row["baseline.interval"]) for row in csv.DictReader(file)]
    assert {*rows} == {("0.25-0.75", "0.0-1.0")}


def test_each_setting_has_a_row_of_its_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, list[Panel]]] = []
    monkeypatch.setattr(
        "hw2.sweeps.figures.panels", lambda of, title, order: drawn.append((title, of)) or SQUARE
    )
    moves = torch.tensor([0.01, -0.01, 0.0], dtype=torch.float64)
    table = Estimate(0.0, (moves,)).table().numpy()
    outcomes = {"y": np.linspace(0, 1, 10), "spread": table, "of a part": np.zeros(10)}
    trials = [
        trial(tmp_path, {"w": 1.0}, 0.25, outcomes=outcomes),
        trial(tmp_path, {"w": 2.0}, 0.5, outcomes=outcomes | {"spread": 3 * table}),
    ]
    report(tmp_path, trials, baseline={"w": 1.0}, seed=7)
    told = capsys.readouterr().out
    assert "of a part" not in told and "not adjusted for 2\n" in told
    assert "of a part" in (tmp_path / "tables/differences.csv").read_text()
    (row,) = [line for line in told.splitlines() if "0 (0" in line]
    # Two thirds of the sum of squares, of which Student's t with two degrees takes 4.3 times.
    half = 4.303 * (2 / 3 * 2 * 0.02**2) ** 0.5
    assert f"{-0.25:.2f} ({-0.25 - half:.2f} to {-0.25 + half:.2f}) *" in row
    assert "*" not in row.split("│")[2]  # equal to the baseline in y
    (_, curves), (title, apart) = drawn
    noises = "10 noises a trial, the same for all; seed 7"
    assert title == f"less that of w=1, in pairs; {noises}"
    assert [panel.title for panel in apart] == [panel.title for panel in curves]
    assert [panel.zero for panel in (*curves, *apart)] == [None, None, 0.0, 0.0]
    assert apart[1].at == [2.0] and apart[1].lines[""][0].value == -0.25


def test_figures_of_an_earlier_call_go(tmp_path: Path) -> None:
    points = [{"w": w} for w in (0.0, 1.0)]
    trials = [trial(tmp_path, point, 0.5) for point in points]
    report(tmp_path, trials, baseline={"w": 0.0})
    (tmp_path / "figures/mine.png").write_bytes((tmp_path / "figures/front.png").read_bytes())
    assert figures(tmp_path) == {"curves.png", "differences.png", "front.png", "mine.png"}
    report(tmp_path, trials[:1], baseline={"w": 0.0})
    assert figures(tmp_path) == {"curves.png", "front.png", "mine.png"}


def test_yes_and_no_are_no_axis(tmp_path: Path) -> None:
    report(tmp_path, [trial(tmp_path, {"clip": clip}) for clip in (False, True)])
    assert figures(tmp_path) == {"front.png"}


def test_a_metric_that_nobody_measured_chooses_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = report(tmp_path, [trial(tmp_path, {"w": 0.0}, math.nan)])
    assert kept["best"] is None
    assert "chosen: none, since y was measured in no trial" in capsys.readouterr().out


def test_tables_have_limits_and_say_the_baseline(tmp_path: Path) -> None:
    trials = [trial(tmp_path, {"w": w}, w / 4) for w in (1.0, 0.0)]
    report(tmp_path, trials, baseline={"w": 0})
    with (tmp_path / "tables/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [[float(row[key]) for key in ("w", "y", "y.low", "y.high")] for row in rows]
    assert found == [pytest.approx([0, 0, -0.1, 0.1]), pytest.approx([1, 0.25, 0.15, 0.35])]
    assert [row["trial"] for row in rows] == [t.folder.name for t in reversed(trials)]
    with (tmp_path / "tables/differences.csv").open() as file:
        (pair,) = csv.DictReader(file)
    assert [float(pair[key]) for key in ("w", "baseline.w", "value")] == [1, 0, 0.25]


def test_the_front_has_what_is_preferred_across_and_the_chosen_ringed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def front(
        points: list[FrontPoint], *names: str, best: FrontPoint, order: list[str]
    ) -> Image.Image:
        drawn.extend((points, names, best.label))
        return SQUARE

    monkeypatch.setattr("hw2.sweeps.figures.front", front)
    values = ((0.0, 0.5), (1.0, 0.45), (2.0, 0.3))
    trials = [trial(tmp_path, {"w": w, "steps": 20}, y) for w, y in values]
    unknown = Report(10, {"y": Interval(0.4, 0.3, 0.5), "spread": UNDEFINED})
    trials.append(trial(tmp_path, {"w": 3.0, "steps": 20}, reports=(unknown,)))
    kept = report(tmp_path, trials, rule="cheapest_within_interval")
    least = report(tmp_path / "least", trials, mode="min")
    assert least["best"]["point"] == {"w": 2, "steps": 20}
    points, names, best = drawn[:3]
    assert names == ("the mean against the spread", "the spread", "the mean")
    at = [(point.label, *point.place) for point in points]
    assert at == [("w=0", 0.5, 0.5), ("w=1", 0.55, 0.45), ("w=2", 0.7, 0.3)]
    assert {point.group for point in points} == {"steps=20"}
    assert [point.worth for point in points] == pytest.approx([-0.5, -0.45, -0.3])
    # All cost the same, and w=2 is shown to be worse: of the others that of the spread nearer 1.
    assert best == "w=1" and kept["best"]["point"] == {"w": 1, "steps": 20}


@pytest.mark.parametrize("count", [MAX_LINES, MAX_LINES + 1])
def test_of_many_other_settings_the_front_has_no_lines(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def front(points: list[FrontPoint], *_: str, best: FrontPoint, order: list[str]) -> Image.Image:
        drawn.extend((points[1], order))
        return SQUARE

    monkeypatch.setattr("hw2.sweeps.figures.front", front)
    report(tmp_path, [trial(tmp_path, {"w": 0.5, "steps": 5 + i}) for i in range(count)])
    point, order = drawn
    if count > MAX_LINES:
        assert (point.label, point.group, len(order)) == ("w=0.5, steps=6", None, 0)
    else:
        assert (point.label, point.group, len(order)) == ("w=0.5", "steps=6", count)


def test_a_metric_that_some_trials_lack_is_shown_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Panel] = []
    monkeypatch.setattr(
        "hw2.sweeps.figures.panels", lambda of, title, order: drawn.extend(of) or SQUARE
    )
    monkeypatch.setattr("hw2.sweeps.figures.front", lambda *_, **__: SQUARE)
    trials = []
    for weight, calls in ((0.0, UNDEFINED), (1.0, None), (2.0, Interval(20, 20, 20))):
        one = trial(tmp_path, {"guidance_weight": weight, "steps": 9})
        scores = one.scores if calls is None else one.scores | {"calls": calls}
        trials.append(replace(one, reports=(Report(10, scores),)))
    counted = Shown({**SHOWN.metrics, "calls": Metric("calls", "calls")}, SHOWN.front)
    report(tmp_path, trials, shown=counted)
    calls = next(panel for panel in drawn if panel.title == "calls")
    assert (calls.x, calls.at) == ("w", [0.0, 2.0])
    assert calls.lines["steps=9"][1].value == 20
    rows = [line for line in capsys.readouterr().out.splitlines() if line.count("│") == 6]
    assert [row.split("│")[5].strip() for row in rows] == ["calls", "n/a", "", "20"]


def test_the_setting_of_the_baseline_lies_across(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Panel] = []
    monkeypatch.setattr(
        "hw2.sweeps.figures.panels", lambda of, title, order: drawn.extend(of) or SQUARE
    )
    points = [{"w": w, "steps": s} for w in (0.0, 1.0) for s in (10, 20, 30)]
    report(tmp_path, [trial(tmp_path, point) for point in points], baseline={"steps": 10})
    assert drawn[0].at == [10, 20, 30] and list(drawn[0].lines) == ["w=0", "w=1"]


@pytest.mark.parametrize(("others", "said"), [(6, ""), (7, ", 6 of 7 combinations")])
def test_curves_of_more_lines_than_can_be_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int, said: str
) -> None:
    drawn: list[Panel] = []
    monkeypatch.setattr(
        "hw2.sweeps.figures.panels", lambda of, title, order: drawn.extend(of) or SQUARE
    )
    points = [{"w": w, "steps": s} for w in (0.0, 1.0) for s in range(1, others + 1)]
    report(tmp_path, [trial(tmp_path, p, p["w"] / 4 + p["steps"] / 100) for p in points])
    assert drawn[0].title == f"the mean{said}" and list(drawn[0].at) == [0, 1]
    assert list(drawn[0].lines) == [f"steps={s}" for s in range(1, 7)]
    assert [i.value for i in drawn[0].lines["steps=3"]] == pytest.approx([0.03, 0.28])


@pytest.mark.parametrize(
    "values",
    [
        ["unipc", "ddim", "dpmpp"],
        [True, False],
        [(0.65, 1.0), (0.0, 1.0)],
        [(0.0, 1.0), 0.5, "auto", True, 2],
    ],
)
def test_dimensions_that_are_no_numbers(tmp_path: Path, values: list[Any]) -> None:
    trials = [trial(tmp_path, {"v": v}, i / 10) for i, v in enumerate(values)]
    kept = report(tmp_path, trials)
    assert len(kept["trials"]) == len(values)
    assert "front.png" in figures(tmp_path)
    with (tmp_path / "tables/trials.csv").open() as file:
        names = {row["v"] for row in csv.DictReader(file)}
    assert len(names) == len(values)


def test_failed_trials_are_named_after_all_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = TrialResult({"w": 7.0}, trial_folder(tmp_path, {"w": 7.0}), error="ValueError: seven")
    trials = [trial(tmp_path, {"w": 1.0}), broken]
    with pytest.raises(TrialsFailed) as failed:
        report(tmp_path, trials)
    assert str(failed.value).startswith("1 of 2 trials failed, the first w=7: ValueError: seven; ")
    assert failed.value.exit_code == 1
    kept = json.loads((tmp_path / "metrics.json").read_text())
    assert [t["error"] for t in kept["trials"]] == ["", "ValueError: seven"]
    assert kept["best"]["point"] == {"w": 1}
    assert "ValueError: seven" in capsys.readouterr().out


def test_nothing_to_choose_from(tmp_path: Path) -> None:
    unknown = Report(10, {"y": UNDEFINED, "spread": UNDEFINED})
    kept = report(tmp_path, [trial(tmp_path, {"w": 1.0}, reports=(unknown,))])
    assert kept["best"] is None
    assert kept["trials"][0]["scores"]["y"]["value"] is None
    assert figures(tmp_path) == set()

    all_failed = [TrialResult({"w": 1.0}, trial_folder(tmp_path, {"w": 1.0}), error="no")]
    with pytest.raises(TrialsFailed, match="1 of 1 trials failed"):
        report(tmp_path / "failed", all_failed)
    assert not (tmp_path / "failed/figures").exists()


def test_trials_stopped_early_are_shown_with_what_they_have(tmp_path: Path) -> None:
    few = Report(5, {"y": Interval(0.9, 0.8, 1.0), "spread": UNDEFINED})
    kept = report(
        tmp_path,
        [trial(tmp_path, {"w": 1.0}, reports=(few,)), trial(tmp_path, {"w": 2.0}, 0.4)],
    )
    assert [t["samples"] for t in kept["trials"]] == [5, 10]
    assert kept["best"]["point"] == {"w": 2}
    assert math.isclose(kept["trials"][0]["scores"]["y"]["value"], 0.9)
