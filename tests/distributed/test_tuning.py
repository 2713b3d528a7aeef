"""A sweep's trials as Tune calls them, without Tune: steps, refusals, who is told of what."""

import errno
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hw2.config import ScalingConfig
from hw2.distributed import devices, room, trial_actor, tuning
from hw2.distributed.sweep import run_sweep
from hw2.distributed.trial_actor import trainable
from hw2.distributed.tuning import _callback, _Here, _resources, _stopper, connected_for
from hw2.errors import BusyError, ConfigError, StorageError
from hw2.lock import only_writer
from hw2.runlog.run_file import RUN_FILE
from hw2.sweeps.space import Point
from hw2.sweeps.trial import TrialResult, read_trial, run_trial
from tests.sweeps.toy import ToyWork, lines, make_toy, toy_config

ASHA = {"method": "asha", "grace": 5, "reduction_factor": 2}


def actor(out: Path, point: Point, **settings: Any) -> Any:
    """An actor of Tune's at its first trial, in this process."""
    if not (out / RUN_FILE).exists():
        (out / RUN_FILE).write_text("mine")
    made = trainable(toy_config(out, **settings), out, None, on_gpu=False)
    one = made.__new__(made)
    one.setup({"point": point}, make_toy(out))
    return one


def test_a_trial_ends_with_its_last_rung_and_the_next_has_the_same_work(tmp_path: Path) -> None:
    one = actor(tmp_path, {"x": 1.0}, samples=10, scheduler=ASHA, scaling={"num_workers": 1})
    steps = [one.step(), one.step()]
    assert [(step["samples"], step["done"]) for step in steps] == [(5, False), (10, True)]
    scores = read_trial(tmp_path, {"x": 1.0}).scores
    assert steps[1]["y"] == scores["y"].value
    assert one.reset_config({"point": {"x": 2.0}})
    one.step()
    assert lines(tmp_path / "drawn") == ["1 0", "1 5", "2 0"]
    assert len(lines(tmp_path / "made")) == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_before_an_actor_begins_is_told_in_a_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(out: Path) -> None:
        raise OSError(number, os.strerror(number), str(out / ".lock"))

    monkeypatch.setattr(trial_actor, "one_of_writers", failing)
    one = actor(tmp_path, {"x": 1.0})
    told = f"cannot write {tmp_path} ({os.strerror(number)}): what was saved before stays"
    assert capsys.readouterr().err.startswith(told)
    with pytest.raises(StorageError, match=re.escape(told)):
        one.step()


def test_a_metric_that_was_not_measured_has_no_value(tmp_path: Path) -> None:
    step = actor(tmp_path, {"x": 1.0}, metric="none").step()
    assert step["done"] and step["none"] != step["none"]


def test_an_error_of_a_trial_is_kept_and_leaves_the_actor_alive(tmp_path: Path) -> None:
    one = actor(tmp_path, point := {"x": 1.0, "trouble": "raise"})
    assert one.step() == {"done": True, "failed": True}
    assert read_trial(tmp_path, point).error == "ValueError: x=1 is cursed, as was told"
    one.reset_config({"point": {"x": 2.0}})
    assert one.step()["samples"] == 10


@pytest.mark.parametrize("harm", ["another's", "gone", "moved aside meanwhile"])
def test_an_actor_that_cannot_work_says_so_and_makes_nothing(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / RUN_FILE).write_text("mine")
    made = trainable(toy_config(out), out, None, on_gpu=False)

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        (folder / RUN_FILE).write_text("another's")
        yield

    if harm == "another's":
        (out / RUN_FILE).write_text("another's")
    elif harm == "gone":
        out.rename(tmp_path / "aside")
    else:
        monkeypatch.setattr(trial_actor, "one_of_writers", late)
    one = made.__new__(made)
    one.setup({"point": {"x": 1.0}}, make_toy(tmp_path))
    said = f"^{out} is not on all nodes"
    assert re.match(said, capsys.readouterr().err)
    with pytest.raises(ConfigError, match=said):
        one.step()  # where Tune counts it as a death
    one.cleanup()
    assert not (tmp_path / "made").exists()
    assert {path.name for path in out.glob("*")} <= {RUN_FILE}


def test_an_actor_holds_the_folder_until_it_ends(tmp_path: Path) -> None:
    one = actor(tmp_path, {"x": 1.0})
    with pytest.raises(BusyError), only_writer(tmp_path, 0.0):
        pytest.fail("too early")
    one.cleanup()
    with only_writer(tmp_path, 0.0):
        pass


def test_actors_are_told_of_their_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RUN_FILE).touch()
    monkeypatch.setattr(devices, "gpu_refusal", lambda: None)
    told: list[bool] = []

    def make(on_gpu: bool) -> ToyWork:
        told.append(on_gpu)
        return ToyWork(tmp_path)

    for on_gpu in (True, False):
        made = trainable(toy_config(tmp_path), tmp_path, None, on_gpu)
        made.__new__(made).setup({"point": {"x": 1.0}}, make)
    assert told == [True, False]
    monkeypatch.setattr(devices, "gpu_refusal", lambda: "the driver is too old")
    made = trainable(toy_config(tmp_path), tmp_path, None, on_gpu=True)
    made.__new__(made).setup({"point": {"x": 1.0}}, make)
    assert ": the driver is too old: mend that, or give" in capsys.readouterr().err
    assert told == [True, False]


def too_large(on_gpu: bool) -> ToyWork:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_a_model_that_the_gpu_has_no_room_for_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / RUN_FILE).touch()
    config = toy_config(tmp_path)
    made = trainable(config, tmp_path, None, on_gpu=False)
    made.__new__(made).setup({"point": {"x": 1.0}}, too_large)
    said = "the GPU has too little memory for this: free it of other programs, take another, "
    assert capsys.readouterr().err.startswith(said)
    with pytest.raises(ConfigError, match=f"^{said}"):
        run_sweep(too_large, [{"x": 1.0}], config, tmp_path, lambda trial: None)


class Cause(Exception):
    """As Ray wraps what an actor raised."""

    cause = ConfigError("w=7: too much")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (None, "its process died more than 2 times"),
        (RuntimeError("the actor died"), "its process died more than 2 times"),
        (Cause(), "w=7: too much"),
        (RuntimeError("\x1b[36mcreation task\x1b[0m failed\nno model"), "no model"),
    ],
)
def test_why_a_trial_ended_is_kept_and_told(
    error: Exception | None, kept: str, tmp_path: Path
) -> None:
    told: list[TrialResult] = []
    here = _Here(told.append, None)
    file = tmp_path / "error.pkl"
    if error is not None:
        file.write_bytes(pickle.dumps(error))
    trial = SimpleNamespace(config={"point": {"x": 1.0}}, pickled_error_file=file)
    config = toy_config(tmp_path, max_failures=2)
    _callback(here, config, tmp_path).on_trial_error(1, [], trial)
    assert [one.error for one in told] == [kept]
    assert "\x1b" not in told[0].trace
    assert list(here.ended.values()) == told


def test_a_point_that_is_asked_for_twice_ends_once(tmp_path: Path) -> None:
    told: list[TrialResult] = []
    here = _Here(told.append, None)
    list(run_trial(ToyWork(tmp_path), tmp_path, {"x": 1.0}, [10]))
    trial = SimpleNamespace(config={"point": {"x": 1.0}})
    for _ in range(2):
        _callback(here, toy_config(tmp_path), tmp_path).on_trial_complete(1, [], trial)
    assert [one.samples for one in told] == [10, 10]
    assert [one.point for one in here.ended.values()] == [{"x": 1.0}]


def test_the_first_who_cannot_take_a_trial_is_kept_for_the_end(tmp_path: Path) -> None:
    here = _Here(lambda trial: None, None)
    for number in (1, 2):
        with here.later(tmp_path):
            raise StorageError(f"away at {number}")
    assert str(here.refusal) == "away at 1" and not _stopper(here).stop_all()
    assert pickle.loads(pickle.dumps(here)) == {}  # Tune keeps its callbacks beside its own state


def test_a_disk_that_fails_as_a_trial_ends_is_told_and_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "result.json")

    monkeypatch.setattr(tuning, "fail_trial", failing)
    here = _Here(failing, None)
    trial = SimpleNamespace(config={"point": {"x": 1.0}}, pickled_error_file=None)
    for end in ("on_trial_error", "on_trial_complete"):
        here.refusal, here.stopped = None, False
        getattr(_callback(here, toy_config(tmp_path), tmp_path), end)(1, [], trial)
        assert str(here.refusal).startswith(f"cannot write {tmp_path} (Read-only file system): ")
        assert _stopper(here).stop_all()  # no further trial could be kept


@pytest.mark.parametrize(
    ("scaling", "share", "trials", "found"),
    [
        ({}, None, 20, (4, False, {"cpu": 1.0})),
        ({}, None, 3, (3, False, {"cpu": 1.0})),
        ({"num_workers": 2}, None, 20, (2, True, {"cpu": 1.0})),  # else four would start
        ({"num_workers": 4}, None, 2, (2, False, {"cpu": 1.0})),
        ({"cpus_per_worker": 2}, None, 20, (2, False, {"cpu": 2.0})),
        ({"cpus_per_worker": 0.5}, 0.5, 20, (4, False, {"cpu": 0.5, "gpu": 0.5})),
        ({"num_workers": 1}, 0.5, 20, (1, True, {"cpu": 1.0, "gpu": 0.5})),
        ({}, 0.5, 3, (3, False, {"cpu": 1.0, "gpu": 0.5})),
    ],
)
def test_how_many_trials_run_at_once(
    scaling: dict[str, Any],
    share: float | None,
    trials: int,
    found: tuple[int, bool, dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "there")
    monkeypatch.setattr(room, "_nodes", lambda: [(4, 2 if share else 0)])
    assert _resources(ScalingConfig(**scaling), share, trials) == found


def test_a_share_of_a_gpu_is_refused_before_the_sweep(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_nodes", lambda: [(4, 0)])
    config = toy_config(tmp_path, gpus_per_trial=0.5, scaling={"num_workers": 1})
    told = pytest.raises(ConfigError, match=r"^gpus_per_trial=0\.5, but the cluster has no GPU")
    with told, connected_for(config):
        pytest.fail("too late")
