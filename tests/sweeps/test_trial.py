"""A trial draws and scores each thing once, whatever happens in between."""

import json
import math
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hw2.errors import DataError
from hw2.metrics.intervals import UNDEFINED, Interval
from hw2.sweeps.kept import kept_trials
from hw2.sweeps.space import Point
from hw2.sweeps.trial import (
    OUTCOMES,
    SHEET,
    Arrays,
    Report,
    cut,
    fail_trial,
    read_trial,
    run_trial,
    trial_folder,
)
from tests.sweeps.toy import ToyWork, lines, noise, spread

POINT = {"x": 2.0}


def run(folder: Path, *rungs: int, point: Point = POINT) -> list[Report]:
    return list(run_trial(ToyWork(folder), folder, point, rungs))


def drawn(folder: Path) -> list[str]:
    """`x first` of each draw."""
    return lines(folder / "drawn")


def test_rungs_draw_only_what_is_new(tmp_path: Path) -> None:
    reports = run(tmp_path, 4, 7, 12)
    assert drawn(tmp_path) == ["2 0", "2 10", "2 5"]
    assert [report.samples for report in reports] == [4, 7, 12]
    means = [report.scores["y"].value for report in reports]
    np.testing.assert_allclose(means, [2 + noise(range(n)).mean() for n in (4, 7, 12)], rtol=1e-12)
    kept = read_trial(tmp_path, POINT)
    assert kept.reports == tuple(reports)
    np.testing.assert_array_equal(kept.outcomes["y"], 2 + noise(range(12)))
    estimate = spread(2 + noise(range(12)))
    np.testing.assert_array_equal(kept.outcomes["spread"], estimate.table())
    assert kept.scores["spread"] == estimate.interval
    assert (kept.error, kept.samples, kept.scores) == ("", 12, reports[-1].scores)


def test_what_is_done_is_read(tmp_path: Path) -> None:
    first = run(tmp_path, 5, 10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(before) == 3
    assert run(tmp_path, 5, 10, point={"x": 2}) == first  # 2 is 2.0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == before
    assert len(drawn(tmp_path)) == 2


@pytest.mark.parametrize("code", ["of another commit", None])
def test_what_other_code_has_scored_is_scored_anew(tmp_path: Path, code: str | None) -> None:
    """Else one table would hold limits and scores of two kinds; pictures are not drawn again."""
    first = run(tmp_path, 5, 10)
    path = trial_folder(tmp_path, POINT) / "result.json"
    kept = json.loads(path.read_text())
    del kept["code"]  # as before it was kept
    for report in kept["reports"]:
        report["scores"]["y"]["low"] -= 1
    path.write_text(json.dumps(kept | ({"code": code} if code else {})))
    assert read_trial(tmp_path, POINT).scores["y"].low == first[1].scores["y"].low - 1
    assert run(tmp_path, 10) == first[1:]
    assert read_trial(tmp_path, POINT).reports == tuple(first[1:])
    assert len(drawn(tmp_path)) == 2


def test_raising_and_lowering_the_samples(tmp_path: Path) -> None:
    run(tmp_path, 10)
    run(tmp_path, 20)
    assert drawn(tmp_path) == ["2 0", "2 10", "2 15", "2 5"]
    assert [report.samples for report in read_trial(tmp_path, POINT).reports] == [10, 20]
    run(tmp_path, 7)
    kept = read_trial(tmp_path, POINT)
    assert kept.samples == len(kept.outcomes["y"]) == 7
    run(tmp_path, 20)
    assert read_trial(tmp_path, POINT).samples == 20
    assert len(drawn(tmp_path)) == 4
    run(tmp_path, 7)  # which was scored before
    kept = read_trial(tmp_path, POINT)
    assert kept.samples == len(kept.outcomes["y"]) == 7


def test_a_kill_leaves_no_scores_of_more_samples_than_outcomes(tmp_path: Path) -> None:
    seen: list[int] = []

    class Looking(ToyWork):
        def score(self, point: Point, drawn: Arrays) -> tuple[dict[str, Interval], Arrays]:
            seen.append(read_trial(tmp_path, point).samples)
            return super().score(point, drawn)

    run(tmp_path, 20)
    list(run_trial(Looking(tmp_path), tmp_path, POINT, [10]))
    assert seen == [0]


def test_the_time_of_earlier_calls_counts(tmp_path: Path) -> None:
    run(tmp_path, 5)
    path = trial_folder(tmp_path, POINT) / "result.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "seconds": 1000.0}))
    run(tmp_path, 5, 10)
    assert 1000 < read_trial(tmp_path, POINT).seconds < 1100


def test_a_new_rung_before_a_kept_one(tmp_path: Path) -> None:
    """A sweep without early stopping, then one with it in the same folder."""
    run(tmp_path, 20)
    assert [report.samples for report in run(tmp_path, 10, 20)] == [10, 20]
    kept = read_trial(tmp_path, POINT)
    assert [report.samples for report in kept.reports] == [10, 20]
    np.testing.assert_array_equal(kept.outcomes["y"], 2 + noise(range(20)))
    with Image.open(kept.folder / SHEET) as sheet:
        assert sheet.getpixel((0, 0)) == (20, 0, 0)
    assert len(drawn(tmp_path)) == 4


def test_a_trial_stopped_at_a_kept_rung_behind_a_new_one_has_its_outcomes(tmp_path: Path) -> None:
    run(tmp_path, 10)
    reports = run_trial(ToyWork(tmp_path), tmp_path, POINT, [5, 10, 20])
    assert [next(reports).samples for _ in range(2)] == [5, 10]  # where ASHA gives it up
    kept = read_trial(tmp_path, POINT)
    assert kept.samples == len(kept.outcomes["y"]) == 10


def test_what_has_no_row_a_sample_stays_whole() -> None:
    drawn = {"images": np.arange(10), "labels": np.arange(7)}
    assert {name: len(array) for name, array in cut(drawn, 6, 10).items()} == {
        "images": 6,
        "labels": 7,
    }


def test_a_failed_trial_keeps_its_trace_and_goes_on_when_it_can(tmp_path: Path) -> None:
    point = {"x": 1.0, "trouble": "raise late"}
    reports = run_trial(ToyWork(tmp_path), tmp_path, point, [5, 10])
    first = next(reports)
    with pytest.raises(ValueError) as failed:
        next(reports)
    fail_trial(tmp_path, point, failed.value)
    kept = read_trial(tmp_path, point)
    assert kept.error == "ValueError: x=1 is cursed, as was told"
    assert "Traceback" in kept.trace and "toy.py" in kept.trace
    assert kept.reports == (first,) and kept.seconds > 0

    (tmp_path / "mended").touch()
    assert run(tmp_path, 5, 10, point=point)[0] == first
    kept = read_trial(tmp_path, point)
    assert (kept.samples, kept.error, kept.trace) == (10, "", "")
    assert drawn(tmp_path) == ["1 0", "1 5", "1 5"]


def test_errors_of_the_user_have_no_trace(tmp_path: Path) -> None:
    fail_trial(tmp_path, POINT, DataError("w=7: too much"))
    assert (read_trial(tmp_path, POINT).error, read_trial(tmp_path, POINT).trace) == (
        "w=7: too much",
        "",
    )


def test_a_kept_error_is_one_line_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a_token_of_the_hub")
    fail_trial(tmp_path, POINT, ValueError("of hf_a_token_of_the_hub:\nno"))
    kept = read_trial(tmp_path, POINT)
    assert kept.error == "ValueError: of ***: no"
    assert "ValueError: of ***" in kept.trace and "hf_a_token" not in kept.trace


def test_an_error_that_came_after_the_last_rung_is_over(tmp_path: Path) -> None:
    """A process may die between keeping its last report and telling of it."""
    run(tmp_path, 5)
    fail_trial(tmp_path, POINT, "Traceback\nthe process died\n\n")
    assert read_trial(tmp_path, POINT).error == "the process died"
    run(tmp_path, 5)
    assert read_trial(tmp_path, POINT).error == ""
    assert len(drawn(tmp_path)) == 1


@pytest.mark.parametrize(
    "kept",
    [
        "[]",
        "{}",
        '{"reports": null}',
        '{"reports": [{"samples": null, "scores": {}}]}',
        '{"reports": [{"samples": 5, "scores": []}]}',
        '{"reports": [{"samples": 5, "scores": {"y": {"mean": 1}}}]}',
        '{"reports": [], "seconds": "long", "error": "", "trace": ""}',
    ],
)
def test_a_result_that_is_not_ours_is_none(kept: str, tmp_path: Path) -> None:
    first = run(tmp_path, 5)
    (trial_folder(tmp_path, POINT) / "result.json").write_text(kept)
    found = read_trial(tmp_path, POINT)
    assert (found.reports, found.error) == ((), "")
    assert run(tmp_path, 5) == first
    assert len(drawn(tmp_path)) == 1


def test_a_score_that_is_not_known_comes_back_as_that(tmp_path: Path) -> None:
    class Unknown(ToyWork):
        def score(self, point: Point, drawn: Arrays) -> tuple[dict[str, Interval], Arrays]:
            return {"y": UNDEFINED}, {"y": drawn["y"]}

    list(run_trial(Unknown(tmp_path), tmp_path, POINT, [5]))
    found = read_trial(tmp_path, POINT).scores["y"]
    assert all(math.isnan(one) for one in (found.value, found.low, found.high))


def test_a_folder_that_its_point_does_not_name_is_no_trial(tmp_path: Path) -> None:
    run(tmp_path, 5)
    folder = trial_folder(tmp_path, POINT)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    for text in ((copy / "point.json").read_text(), "[1]", "2", "null", "torn"):
        (copy / "point.json").write_text(text)
        assert [trial.point for trial in kept_trials(tmp_path)] == [POINT]


@pytest.mark.parametrize("harm", ["truncate", "empty", "zeros", "flip"])
def test_a_torn_chunk_is_drawn_again(tmp_path: Path, harm: str) -> None:
    want = run(tmp_path, 10)
    path = trial_folder(tmp_path, POINT) / "chunk_000005.npz"
    whole = path.read_bytes()
    half = len(whole) // 4
    path.write_bytes(
        {
            "truncate": whole[: half * 2],
            "empty": b"",
            "zeros": bytes(len(whole)),
            "flip": whole[:half] + bytes(b ^ 255 for b in whole[half:][:40]) + whole[half + 40 :],
        }[harm]
    )
    (path.parent / "result.json").write_text('{"reports": [{"sam')  # torn as well
    assert run(tmp_path, 10) == want
    assert drawn(tmp_path) == ["2 0", "2 5", "2 5"]


def test_two_who_want_the_same_chunk_at_once_draw_it_once(tmp_path: Path) -> None:
    """Locks are by open file: threads exclude each other as processes do."""
    points = [{"x": float(x), "other": 9.0} for x in range(4)]
    threads = [
        threading.Thread(target=run, args=(tmp_path, 5), kwargs={"point": point})
        for point in [*points, points[0]]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn(tmp_path) == ["0 0", "1 0", "2 0", "3 0", "9 0"]
    # The trial at 9 was drawn, not run; when it is, it has its chunk.
    assert [trial.point["x"] for trial in kept_trials(tmp_path)] != []
    assert {trial.point["x"] for trial in kept_trials(tmp_path)} == {0, 1, 2, 3}
    run(tmp_path, 5, point={"x": 9.0})
    assert len(drawn(tmp_path)) == 5


def test_what_another_machine_drew_is_fetched_not_drawn(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    run(there, 5, point={"x": 9.0})
    fetched: list[Point] = []

    def fetch(other: Point) -> None:
        fetched.append(other)
        copy = trial_folder(here, other)
        shutil.copytree(trial_folder(there, other), copy, dirs_exist_ok=True)

    here.mkdir()
    point = {"x": 1.0, "other": 9.0}
    list(run_trial(ToyWork(here), here, point, [5, 10], fetch))
    assert fetched == [{"x": 9.0}] * 2
    assert drawn(here) == ["1 0", "1 5", "9 5"]  # the other machine has come to 5
    list(run_trial(ToyWork(here), here, {"x": 2.0, "other": 9.0}, [10], fetch))
    assert len(fetched) == 2  # it is here now


def test_no_scratch_is_left(tmp_path: Path) -> None:
    run(tmp_path, 5)
    names = {path.name for path in trial_folder(tmp_path, POINT).iterdir()}
    assert names == {"point.json", "result.json", "outcomes.npz", "sheet.png", "chunk_000000.npz"}
    kept = json.loads((trial_folder(tmp_path, POINT) / "result.json").read_text())
    assert kept["reports"][0]["samples"] == 5


@pytest.mark.parametrize("torn", [True, False])
def test_without_its_outcomes_a_trial_is_scored_again_and_not_drawn(
    torn: bool, tmp_path: Path
) -> None:
    first = run(tmp_path, 5, 10)
    kept, path = read_trial(tmp_path, POINT), trial_folder(tmp_path, POINT) / OUTCOMES
    path.write_bytes(path.read_bytes()[:50]) if torn else path.unlink()
    without = read_trial(tmp_path, POINT)
    assert (without.reports, without.seconds) == ((), kept.seconds)
    assert run(tmp_path, 5, 10) == first
    assert len(drawn(tmp_path)) == 2
    again = read_trial(tmp_path, POINT)
    np.testing.assert_array_equal(again.outcomes["y"], kept.outcomes["y"])
