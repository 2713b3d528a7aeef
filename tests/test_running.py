"""Running a training in this process: who writes, what goes to the run."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from PIL import Image

from hw2.bucket.mirror import Mirror
from hw2.errors import ConfigError, StorageError
from hw2.events import Begun, Saved
from hw2.gradients import Place
from hw2.runlog.journal import Journal
from hw2.runlog.tracker import Tracker
from hw2.running import run
from hw2.settings.training import TrainConfig
from hw2.training import Training, train
from tests.toy import PairSource, noisy_error, toy_net, toy_process


@pytest.fixture
def toy(tmp_path: Path) -> Training:
    """Twelve steps of the toy, whose run is begun in a store of its own."""
    tracker = Tracker.start(
        tmp_path,
        experiment="toy",
        run_name="toy",
        config={},
        tracking_uri=f"sqlite:///{tmp_path}/t.db",
    )
    tracker.close()
    config = TrainConfig(num_steps=12, batch_size=8, checkpoint_every=5, precision="fp32")
    return Training(toy_net(), noisy_error, PairSource(), config, seed=5, out=tmp_path)


def test_worker_0_logs_each_step_and_shows_each_checkpoint(toy: Training) -> None:
    shown, told = [], []

    def show(saved: Saved) -> Image.Image:
        shown.append(saved.step)
        return Image.new("L", (1, 1))

    run(replace(toy, show=show), after_checkpoint=told.append)
    assert shown == told == [5, 10, 12]
    journal = Journal(toy.out / "journal.jsonl")
    assert [row.step for row in journal.rows()] == list(range(1, 13))
    figures = {f"figures/step_{step:08d}.png" for step in shown}
    assert figures <= set(journal.latest("artifact"))
    assert "figures/training.png" in journal.latest("artifact")
    with Image.open(toy.out / "figures" / "training.png") as drawn:
        assert drawn.width > 2 * drawn.height  # loss and gradient's norm: nothing was evaluated
    run(replace(toy, show=show), after_checkpoint=told.append)  # done already
    assert told == [5, 10, 12]


def test_a_training_stopped_after_its_last_checkpoint_shows_that_one_when_it_goes_on(
    toy: Training,
) -> None:
    def killed(saved: Saved) -> None:
        if saved.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(replace(toy, show=killed))
    assert not (toy.out / "final.safetensors").exists()
    shown, told = [], []
    again = replace(toy, net=toy_net(), show=lambda saved: shown.append(saved.step))
    run(again, after_checkpoint=told.append)
    assert shown == told == [12]
    assert (toy.out / "final.safetensors").exists()
    assert [row.step for row in Journal(toy.out / "journal.jsonl").rows()] == [*range(1, 13)]


def test_what_takes_long_is_shown_at_the_end_and_seldom_before(toy: Training) -> None:
    shown: list[int] = []
    run(replace(toy, show=lambda saved: shown.append(saved.step), show_every=60.0))
    assert shown == [12]


def test_the_run_tells_on_what_it_began(toy: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hw2.running.train", lambda training, place: iter([Begun(3)]))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device.index}")
    for device in ("cpu", "cuda:1"):
        run(toy, Place(device=torch.device(device)))
    told = Journal(toy.out / "journal.jsonl").latest("tag")["starts"]
    assert told == "step 3 on 1, step 3 on 1 Card 1"


def test_what_is_saved_as_a_machine_is_to_go_comes_to_the_bucket_at_once(toy: Training) -> None:
    mirror, answers, pushed = Mock(spec=Mirror), iter([False] * 3 + [True]), []

    def push() -> None:
        pushed.append(max((toy.out / "checkpoints").iterdir()).name)

    mirror.push.side_effect = push
    run(toy, Place(leaving=lambda: next(answers, False)), mirror=mirror)
    assert pushed[:2] == ["step_00000003", "step_00000005"]


def test_another_worker_writes_nothing(toy: Training) -> None:
    before = {path.name for path in toy.out.iterdir()}
    told: list[int] = []
    run(toy, Place(rank=1), after_checkpoint=told.append)  # alone: no group to average over
    assert told == [5, 10, 12]
    assert {path.name for path in toy.out.iterdir()} == before
    assert Journal(toy.out / "journal.jsonl").rows() == []


def test_a_run_that_nobody_began_is_refused(toy: Training, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    with pytest.raises(ConfigError, match="names no run"):
        run(replace(toy, out=nowhere))
    assert not list(nowhere.iterdir())


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "mend that"), (errno.ESTALE, "mend that")],
)
def test_what_a_lone_worker_cannot_keep_ends_it_at_once(
    toy: Training, monkeypatch: pytest.MonkeyPatch, number: int, way_out: str
) -> None:
    told: list[int] = []

    def full(saved: Saved) -> None:
        if saved.step == 10:
            raise OSError(number, os.strerror(number), "figure.png")

    said = rf"cannot write figure\.png \({os.strerror(number)}\): {way_out}"
    with pytest.raises(StorageError, match=said):
        run(replace(toy, show=full), after_checkpoint=told.append)
    assert told == [5]

    def refused(*rest: object, **more: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("hw2.training.save_weights", refused)
    with pytest.raises(StorageError, match="the disk is full"):
        run(toy, after_checkpoint=told.append)
    assert told == [5, 12]


@pytest.mark.parametrize(
    "said",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_sheet_that_the_gpu_has_no_room_for_is_left_out(
    said: RuntimeError, toy: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    def show(saved: Saved) -> Image.Image:
        if saved.step == 10:
            raise said
        return Image.new("L", (1, 1))

    run(replace(toy, show=show))
    figures = sorted(path.name for path in (toy.out / "figures").glob("step_*"))
    assert figures == ["step_00000005.png", "step_00000012.png"]
    assert "warning: step 10: no sheet is drawn: the GPU has too little" in capsys.readouterr().err


def test_an_error_that_no_room_would_mend_comes_out_as_it_is(toy: Training) -> None:
    def closed(saved: Saved) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "figure.png")

    with pytest.raises(PermissionError):
        run(replace(toy, show=closed))


@pytest.mark.parametrize("step", [4, 6])  # between checkpoints and at one
def test_all_workers_hear_what_ended_worker_0(toy: Training, step: int) -> None:
    told = toy_process("lost", toy.out, 2, step)
    assert told.splitlines() == ["cannot write journal (No space left on device): make room"] * 2
    assert [path.name for path in (toy.out / "checkpoints").glob("step_*")] == ["step_00000003"]
    assert [row.step for row in Journal(toy.out / "journal.jsonl").rows()] == [*range(1, step)]


def test_a_run_that_worker_0_cannot_write_to_ends_all(tmp_path: Path) -> None:
    told = toy_process("lost", tmp_path, 2, 0)
    assert told.count("names no run") == 2


def test_a_checkpoint_that_one_worker_cannot_go_on_from_ends_all(toy: Training) -> None:
    own = toy.out / "1"  # which worker 1 alone sees
    for _ in train(replace(toy, out=own, meta={"kind": "toy"})):
        pass
    broken = max(own.glob("checkpoints/*/manifest.json"))
    broken.unlink()
    broken.symlink_to(broken)  # to open it is an error of the file system: it is not torn
    told = toy_process("lost", toy.out, 2, 0)
    assert told.count("cannot be read") == 2
