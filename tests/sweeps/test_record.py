"""A sweep's runs in a real sqlite store: one parent, a nested run a trial, each row once."""

import csv
import dataclasses
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from hw2.distributed.sweep import run_sweep, sweep
from hw2.errors import StorageError, TrialsFailed
from hw2.runlog.tracker import Tracker
from hw2.sweeps.record import Recorder
from hw2.sweeps.space import Point
from hw2.sweeps.trial import read_trial, run_trial
from tests.ports import free_port
from tests.sweeps.toy import SHOWN, ToyWork, lines, make_toy, toy_config

EIGHT: list[Point] = [{"x": float(x)} for x in range(8)]
FAILING: list[Point] = [*EIGHT[:7], {"x": 7.0, "trouble": "raise late"}]


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Tracker]:
    """The run of a sweep in tmp_path/out, in a store that nobody has made yet."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    out = tmp_path / "out"
    with Tracker.start(
        out, experiment="toy", run_name="sweep", config={}, tracking_uri=uri
    ) as tracker:
        yield tracker


def runs(tracker: Tracker) -> dict[str, Any]:
    """The nested runs by name."""
    client = MlflowClient(tracking_uri=tracker.tracking_uri)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    nested = [r for r in found if r.info.run_id != tracker.run_id]
    assert len(found) == len(nested) + 1
    assert all(r.data.tags["mlflow.parentRunId"] == tracker.run_id for r in nested)
    assert len({r.info.run_name for r in nested}) == len(nested)
    return {r.info.run_name: r for r in nested}


def steps(tracker: Tracker, run: Any, key: str) -> list[int]:
    client = MlflowClient(tracking_uri=tracker.tracking_uri)
    return sorted(m.step for m in client.get_metric_history(run.info.run_id, key))


def test_a_trial_s_run_lasts_as_long_as_the_trial(parent: Tracker) -> None:
    point = EIGHT[1]
    list(run_trial(ToyWork(parent.out), parent.out, point, [5]))
    trial = dataclasses.replace(read_trial(parent.out, point), seconds=100.0)
    with Recorder(parent, "toy") as recorder:
        recorder.record(trial, {})
    (run,) = runs(parent).values()
    assert 100 <= (run.info.end_time - run.info.start_time) / 1000 < 160


def test_a_sweep_with_a_failing_trial(parent: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight trials at once, then again with the trial mended, then once more."""
    out, client = parent.out, MlflowClient(tracking_uri=parent.tracking_uri)
    config = toy_config(out, space={"x": {"grid": list(range(8))}}, baseline={"x": 0})
    work = ToyWork(out)
    with ThreadPoolExecutor(7) as pool:  # all are there at once
        list(pool.map(lambda point: list(run_trial(work, out, point, [5, 10])), FAILING[:7]))

    with pytest.raises(TrialsFailed) as failed:
        sweep(make_toy(out), FAILING, config, SHOWN, "toy", parent)
    assert failed.value.exit_code == 1
    assert "1 of 8 trials failed" in str(failed.value)
    assert "x=7, trouble=raise late: ValueError: x=7 is cursed" in str(failed.value)
    table = capsys.readouterr().out
    assert "ValueError: x=7 is cursed" in table
    assert "chosen (best, max y): x=6: " in table

    found = runs(parent)
    assert len(found) == 8
    for x in range(7):
        run = found[f"x={x}"]
        assert run.info.status == "FINISHED"
        params = {key: run.data.params[key] for key in ("x", "samples")}
        assert params == {"x": str(float(x)), "samples": "10"}
        for kind in ("", ".low", ".high"):
            assert steps(parent, run, f"eval/y{kind}") == [5, 10]
        files = {f.path for f in client.list_artifacts(run.info.run_id, "figures")}
        assert files == {"figures/sheet.png"}
    broken = found["x=7, trouble=raise late"]
    assert broken.info.status == "FAILED"
    assert broken.data.tags["error"] == "ValueError: x=7 is cursed, as was told"
    assert steps(parent, broken, "eval/y") == []

    report = json.loads((out / "metrics.json").read_text())
    assert len(report["trials"]) == 8
    assert report["best"]["point"] == {"x": 6.0}
    apart = {
        name: [round(d["value"], 6) for d in report["differences"] if d["metric"] == name]
        for name in ("y", "spread")
    }
    assert apart == {"y": [1, 2, 3, 4, 5, 6], "spread": 6 * [0]}
    with (out / "tables/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["x"] for row in rows] == [str(float(x)) for x in range(8)]
    assert rows[7]["error"].startswith("ValueError")
    with Image.open(out / "figures/curves.png") as picture:
        assert picture.width > 300

    (out / "mended").touch()
    before = lines(out / "drawn")
    for _ in range(2):
        sweep(make_toy(out), FAILING, config, SHOWN, "toy", parent)
    assert lines(out / "drawn") == sorted([*before, "7 5"])  # from where it broke, once
    found = runs(parent)
    assert len(found) == 8
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["x=7, trouble=raise late"].data.tags["error"] == ""
    assert steps(parent, found["x=0"], "eval/y.low") == [5, 10]
    parent.flush()
    summary = client.get_run(parent.run_id).data
    best = json.loads((out / "metrics.json").read_text())["best"]
    assert summary.metrics["best/y"] == best["scores"]["y"]["value"]
    assert summary.tags["best"] == "x=7, trouble=raise late"


def test_a_store_that_went_away_takes_no_report(
    parent: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Tracker(parent.out, parent.run_id, f"http://127.0.0.1:{free_port()}", owner=False)
    out = tmp_path / "trials"
    with Recorder(away, "toy", timeout=1) as recorder:
        config = toy_config(out)
        trials = run_sweep(
            make_toy(tmp_path), EIGHT[:1], config, out, lambda trial: recorder.record(trial, {})
        )
    away.close()
    assert [trial.samples for trial in trials] == [10]
    assert "1 of 1 trials are not, or not whole, in MLflow" in caplog.text
    with Recorder(parent, "toy") as recorder:
        recorder.record(trials[0], {})
    assert list(runs(parent)) == ["x=0"]


def test_a_bucket_that_went_away_takes_no_report(
    parent: Tracker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*given: object, **more: object) -> None:
        raise StorageError("s3://x is away")

    monkeypatch.setattr(Tracker, "start", away)
    with Recorder(parent, "toy") as recorder:
        (trial,) = run_sweep(
            make_toy(tmp_path), EIGHT[:1], toy_config(tmp_path), tmp_path, lambda trial: None
        )
        recorder.record(trial, {})
    assert "1 of 1 trials are not, or not whole, in MLflow (s3://x is away)" in caplog.text


def test_a_store_that_is_away_is_waited_for_once_at_the_end(
    parent: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once a trial: it would be a quarter of an hour for 60 of them."""
    away = Tracker(parent.out, parent.run_id, f"http://127.0.0.1:{free_port()}", owner=False)
    out, asked = tmp_path / "trials", []
    with Recorder(away, "toy", timeout=0.5) as recorder:
        write = recorder._write
        recorder._write = lambda *args: (asked.append(time.monotonic()), write(*args))  # type: ignore
        trials = run_sweep(make_toy(tmp_path), EIGHT, toy_config(out), out, lambda trial: None)
        for trial in trials:
            recorder.record(trial, {})
    away.close()
    assert len(asked) == 8 and asked[-1] - asked[2] < 0.5 <= asked[2] - asked[0]
    assert "8 of 8 trials are not, or not whole, in MLflow" in caplog.text


def test_trials_move_under_the_run_that_follows_a_deleted_one(tmp_path: Path) -> None:
    """As when a user deletes the sweep's run in the UI, which leaves the trials' runs."""
    out, uri, told = tmp_path / "out", f"sqlite:///{tmp_path}/mlflow.db", dict[str, set[str]]()
    for _ in range(2):
        with Tracker.start(
            out, experiment="toy", run_name="sweep", config={}, tracking_uri=uri
        ) as tracker:
            with Recorder(tracker, "toy") as recorder:
                run_sweep(
                    make_toy(tmp_path),
                    EIGHT[:2],
                    toy_config(out),
                    out,
                    lambda trial, recorder=recorder: recorder.record(trial, {}),
                )
            found = runs(tracker)  # which asks whose they are
            assert found.keys() == {"x=0", "x=1"}
            told[tracker.run_id] = {run.info.run_id for run in found.values()}
        MlflowClient(tracking_uri=uri).delete_run(tracker.run_id)
    first, second = told.values()  # of two sweeps' runs
    assert first == second


def test_the_newest_scores_are_of_the_last_report(parent: Tracker, tmp_path: Path) -> None:
    """Also if fewer samples come after more, and if the same come back."""
    work, point = ToyWork(tmp_path), {"x": 1.0}
    seen: set[int] = set()
    at_20 = (
        ([20], 1),
        ([10, 20], 1),
        ([10], 2),
        ([10], 2),
        ([10, 20], 3),
        ([5], 4),
        ([30], 4),
        ([5], 4),
    )
    for rungs, count in at_20:
        reports = list(run_trial(work, parent.out, point, rungs))
        with Recorder(parent, "toy") as recorder:
            recorder.record(read_trial(parent.out, point), {})
        run = runs(parent)["x=1"]
        for name, interval in reports[-1].scores.items():
            kinds = {"": interval.value, ".low": interval.low, ".high": interval.high}
            for kind, value in kinds.items():
                assert run.data.metrics[f"eval/{name}{kind}"] == value, (rungs, name, kind)
        assert steps(parent, run, "eval/y").count(20) == count
        assert set(steps(parent, run, "eval/y")) == (seen := seen.union(rungs))
    assert run.info.status == "FINISHED"


def test_scores_of_other_code_give_way_to_those_of_ours(parent: Tracker) -> None:
    point = {"x": 1.0}
    list(run_trial(ToyWork(parent.out), parent.out, point, [10]))
    trial = read_trial(parent.out, point)
    interval = dataclasses.replace(trial.scores["y"], low=-9.0)
    report = dataclasses.replace(trial.reports[0], scores=trial.scores | {"y": interval})
    for one in (dataclasses.replace(trial, reports=(report,), code="other"), trial):
        with Recorder(parent, "toy") as recorder:
            recorder.record(one, {})
        metrics = runs(parent)["x=1"].data.metrics
        assert metrics["eval/y.low"] == one.scores["y"].low
        assert metrics["eval/y"] == one.scores["y"].value


def test_the_run_of_a_trial_goes_to_the_bucket_of_the_sweep(parent: Tracker) -> None:
    """So that rows are delivered once they are there."""

    class Bucket:
        pushed = 0

        def push(self) -> None:
            self.pushed += 1

        def kept(self, path: Path) -> int:
            return path.stat().st_size

    bucket, point = Bucket(), {"x": 1.0}
    list(run_trial(ToyWork(parent.out), parent.out, point, [5]))
    parent.mirror = bucket  # type: ignore[assignment]
    with Recorder(parent, "toy") as recorder:
        recorder.record(read_trial(parent.out, point), {})
    assert bucket.pushed >= 2  # before its run begins, and at its end
    assert "x=1" in runs(parent)
