"""jobs.tune_guidance and jobs.tune_eta: interrupted anywhere, they continue; nothing is doubled."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data.offline.faces import face_picture
from hw2.distributed.sweep import sweep
from hw2.locate import FINAL
from hw2.models.course_unet import to_course
from hw2.runlog.tracker import Tracker
from hw2.sweeps.space import key_of
from tests.faces.untrained import lively_face_unet
from tests.jobs.command import Folder, as_words, at_work, descendants
from tests.waiting import wait_for


def yaml(folder: Folder, name: str, text: str) -> Path:
    path = folder.path / f"{name}.yaml"
    path.write_text(text)
    return path


def settings(config: Path, tree: Path, out: str, workers: int | None) -> dict[str, object]:
    """Five noises a trial, four steps each; None: two trials at once."""
    return {
        "config": config,
        "out": out,
        "data.root": tree,
        "samples": 5,
        "num_inference_steps": 4,
        "rule": "best",
        "scaling.num_workers": 2 if workers is None else workers,
        "scaling.cpus_per_worker": 0.5,
    }


def finished(out: Path) -> set[Path]:
    """Folders of the trials that are done."""
    return {path.parent for path in out.glob("trials/*/result.json")}


def chunks(folders: set[Path]) -> dict[Path, int]:
    """When each chunk was written."""
    found = {path: path.stat().st_mtime_ns for one in folders for path in one.glob("chunk_*.npz")}
    assert len(found) == len(folders)
    return found


def reports(out: Path) -> dict[str, Any]:
    """The scores of all trials."""
    return {one.name: json.loads((one / "result.json").read_text())["reports"]
            for one in finished(out)}  # fmt: skip


def end(job: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal, see that it ends the job, and wait until none of its trials is at work."""
    # Ray's agents stay for more than a minute.
    trials = [pid for pid, title in descendants(job.pid).items() if "Agent" not in title]
    job.send_signal(number)
    _, told = job.communicate()
    print(told)
    wait_for(lambda: not any(map(at_work, trials)))
    assert job.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[number], told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_stopped_and_killed_at_random_moments(folder: Folder, digits_tree: Path) -> None:
    seed = time.time_ns() % 10**6
    print(f"seed of the blows: {seed}")
    draw = random.Random(seed)
    # So many that some are left for the second blow, whatever the first one leaves.
    grid = "-1, 0, 0.25, 0.5, 1, 1.5, 2, 3"
    eight = yaml(folder, "eight", f"space: {{guidance_weight: {{grid: [{grid}]}}}}\n")
    out = folder.path / "out"

    by_ray = as_words(settings(eight, digits_tree, "out", None))
    before: dict[Path, int] = {}
    for blow in (signal.SIGKILL, signal.SIGINT):  # in this order Ray itself goes on after a kill
        done = finished(out)
        job = folder.start("tune_guidance", *by_ray)
        while job.poll() is None and finished(out) == done:
            time.sleep(0.01)
        time.sleep(draw.random() / 2)
        end(job, blow)
        now = chunks(finished(out))
        assert len(done) < len(now) < 8 and {path: now[path] for path in before} == before
        assert not (out / "metrics.json").exists()
        before = now

    # Without Ray, which goes on from the same trials.
    alone = settings(eight, digits_tree, "out", 0)
    assert folder.run_here("tune_guidance", alone).code == 0
    assert len(finished(out)) == 8
    now = chunks(finished(out))
    assert {path: now[path] for path in before} == before

    undisturbed = folder.run_here("tune_guidance", settings(eight, digits_tree, "here", 0))
    assert undisturbed.code == 0
    assert reports(out) == reports(folder.path / "here")

    parent = json.loads((out / "mlflow_run.json").read_text())["run_id"]
    nested = folder.query(
        "SELECT r.run_uuid, r.status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
        "WHERE t.key = 'mlflow.parentRunId' AND t.value = ?",
        parent,
    )
    assert [status for _, status in nested] == ["FINISHED"] * 8
    assert folder.query("SELECT status FROM runs WHERE run_uuid = ?", parent) == [("FINISHED",)]
    assert len(folder.query("SELECT 1 FROM runs")) == 2 * 9  # with the undisturbed sweep's
    for run, _ in nested:
        for kind in ("", ".low", ".high"):
            key = f"eval/accuracy{kind}"
            query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = ?"
            assert folder.query(query, run, key) == [(5,)]

    nine = yaml(folder, "nine", f"space: {{guidance_weight: {{grid: [{grid}, 4]}}}}\n")
    assert folder.run_here("tune_guidance", settings(nine, digits_tree, "out", 0)).code == 0
    wider = chunks(finished(out))
    assert {path: wider[path] for path in now} == now
    assert {one.name for one in finished(out)} - {path.parent.name for path in now} == {
        key_of({"guidance_weight": 4})
    }
    assert len(json.loads((out / "metrics.json").read_text())["trials"]) == 9


def test_weights_of_runs_reach_the_trials(
    folder: Folder, digits_tree: Path, model: Path, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Tune runs trials in folders of their own, where there is no mlflow.db."""
    (elsewhere := folder.path / "elsewhere").mkdir()

    worked: list[str] = []

    def by_actors(make: Callable[[bool], Any], *rest: Any) -> None:
        def there(on_gpu: bool) -> Any:
            with contextlib.chdir(elsewhere):
                return make(on_gpu)

        sweep(there, *rest)
        worked.append("all trials")

    config = yaml(folder, "two", "space: {guidance_weight: {grid: [0, 1]}}\n")
    given = settings(config, digits_tree, "out", 0)
    by_run = {"model": run_of(model, folder), "judge": run_of(judge, folder)}
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr("hw2.distributed.sweep.sweep", by_actors)
        assert folder.run_here("tune_guidance", given | by_run).code == 0
    assert len(reports(folder.path / "out")) == 2
    assert worked and not list(elsewhere.iterdir())

    by_file = {"out": "here", "model": model, "judge": judge}
    assert folder.run_here("tune_guidance", given | by_file).code == 0
    assert reports(folder.path / "out") == reports(folder.path / "here")


def run_of(weights: Path, folder: Folder) -> str:
    """`run:ID` of a run in the folder's mlflow.db that has these weights."""
    out = folder.path / weights.parent.name
    store = f"sqlite:///{folder.path}/mlflow.db"
    with Tracker.start(
        out, experiment="trained", run_name=out.name, config={}, tracking_uri=store
    ) as tracker:
        tracker.log_file(Path(shutil.copy(weights, out / FINAL)))
    return f"run:{tracker.run_id}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("space: {guidance_weight: {grid: [0, -3]}}", "space.guidance_weight: -3: "),
        ("space: {eta: {grid: [0], choice: [1]}}", "want one of grid, choice"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_is_made(
    folder: Folder, digits_tree: Path, text: str, said: str
) -> None:
    config = yaml(folder, "sweep", text)
    ended = folder.run("tune_guidance", *as_words(settings(config, digits_tree, "out", 0)))
    assert said in ended.refusal()
    assert [path.name for path in folder.path.iterdir()] == ["sweep.yaml"]


@pytest.fixture
def faces(folder: Folder) -> Path:
    """A tiny UNet.pt that moves its picture, two noises, and twelve real faces."""
    torch.save(to_course(lively_face_unet()), folder.path / "UNet.pt")
    (folder.path / "noise").mkdir()
    (folder.path / "real").mkdir()
    generator = torch.Generator().manual_seed(0)
    for index in range(2):
        noise = torch.randn(1, 3, 32, 32, generator=generator)
        torch.save(noise, folder.path / "noise" / f"{index:02d}.pt")
    for index in range(12):
        Image.fromarray(face_picture(0, index)).save(folder.path / "real" / f"{index:02d}.png")
    return folder.path


@pytest.mark.timeout(900)
def test_eta_decides_whether_a_face_is_repeated(folder: Folder, faces: Path) -> None:
    config = yaml(folder, "eta", "space: {eta: {grid: [0, 1]}}\nbaseline: {eta: 0}\n")
    given = {
        "config": config,
        "out": "out",
        "model": faces / "UNet.pt",
        "noise": faces / "noise",
        "real": faces / "real",
        "precision": "fp32",
        "samples": 5,
        "num_inference_steps": 4,
        "scaling.num_workers": 0,
    }
    assert folder.run_here("tune_eta", given).code == 0
    trials = {t["point"]["eta"]: t for t in _metrics(folder)["trials"]}
    still, moved = trials[0]["scores"], trials[1]["scores"]
    assert still["repeated"]["value"] == 1
    assert still["distance"]["value"] == still["repeat_distance"]["value"] == 0
    assert moved["repeated"]["value"] == 0
    assert moved["distance"]["value"] > 1 and moved["repeat_distance"]["value"] > 1
    for scores in (still, moved):
        assert scores["mse"]["value"] is None  # nobody gave pictures to compare with
        assert scores["frechet"]["value"] > 0
        assert scores["network_calls"]["value"] == 4

    kept = {point: _arrays(folder, point) for point in (0, 1)}
    np.testing.assert_array_equal(kept[1]["still"], kept[0]["images"])
    apart = kept[1]["images"].astype(float) - kept[0]["images"]
    want = np.sqrt((apart**2).mean((1, 2, 3))).mean()
    assert moved["distance"]["value"] == pytest.approx(want, rel=1e-5)
    pairs = {pair["metric"]: pair for pair in _metrics(folder)["differences"]}
    assert set(pairs) == {"distance", "frechet", "kernel"}
    assert (pairs["distance"]["n"], pairs["distance"]["verdict"]) == (5, "higher")
    for metric in ("frechet", "kernel"):
        apart = moved[metric]["value"] - still[metric]["value"]
        assert pairs[metric]["value"] == pytest.approx(apart)


def _metrics(folder: Folder) -> Any:
    return json.loads((folder.path / "out" / "metrics.json").read_text())


def _arrays(folder: Folder, eta: float) -> dict[str, np.ndarray]:
    path = folder.path / "out" / "trials" / key_of({"eta": eta}) / "chunk_000000.npz"
    with np.load(path) as kept:
        return dict(kept)
