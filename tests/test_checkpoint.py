"""Checkpoints: whole or not at all, believed only if they are what was written."""

import contextlib
import errno
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from hw2 import checkpoint as checkpoint_module
from hw2.checkpoint import MANIFEST, STATE, CheckpointStore
from hw2.data.files import sha256_of
from hw2.errors import CheckpointError, StorageError
from hw2.weights import load_weights, read_meta, save_weights
from tests.full_disks import small_disk

META = {"seed": 1, "name": "test"}


def tensors(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        "net.w": torch.randn(4, 5, generator=generator),
        "net.transposed": torch.randn(3, 7, generator=generator).T,
        "optimizer.step": torch.tensor(float(step)),
        "half": torch.randn(3, generator=generator).bfloat16(),
        "count": torch.tensor([step]),
    }


def saved(folder: Path, steps: list[int], **more: int) -> CheckpointStore:
    store = CheckpointStore(folder, **more)
    for step in steps:
        store.save(step, tensors(step), META, None)
    return store


def names(store: CheckpointStore) -> list[int]:
    return [int(path.name.removeprefix("step_")) for path in store.steps()]


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "new" / "folder", [3]).latest()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.meta) == (3, META)
    assert checkpoint.tensors.keys() == tensors(3).keys()
    for name, value in tensors(3).items():
        assert_close(checkpoint.tensors[name], value, rtol=0, atol=0)


def test_nothing_there(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none").latest() is None


def test_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=2)
    scores = {1: 5.0, 2: float("nan"), 3: 1.0, 4: 2.0, 5: None, 6: 3.0}
    kept = []
    for step, score in scores.items():
        store.save(step, tensors(step), META, score)
        kept.append(names(store))
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [3, 4, 5], [3, 5, 6]]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": lambda path: flip(path / STATE),
    "a truncated file": lambda path: (path / STATE).write_bytes((path / STATE).read_bytes()[:-9]),
    "an empty file": lambda path: (path / STATE).write_bytes(b""),
    "no tensors": lambda path: (path / STATE).unlink(),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "half a manifest": lambda path: (path / MANIFEST).write_text(
        (path / MANIFEST).read_text()[:30]
    ),
    "an empty manifest": lambda path: (path / MANIFEST).write_text("{}"),
    "a manifest that is a list": lambda path: (path / MANIFEST).write_text("[1]"),
    "a manifest of another step": lambda path: (path / MANIFEST).write_text(
        (path / MANIFEST).read_text().replace('"step": 2', '"step": 3')
    ),
    "a manifest without the run": lambda path: (path / MANIFEST).write_text(
        json.dumps(json.loads((path / MANIFEST).read_text()) | {"meta": None})
    ),
    "an empty folder": lambda path: [shutil.rmtree(path), path.mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_torn_checkpoint_is_skipped_and_the_one_before_taken(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = saved(tmp_path, [1, 2])
    DAMAGE[damage](store.steps()[-1])
    checkpoint = store.latest()
    told = capsys.readouterr().err
    assert "warning: checkpoint " in told and "step_00000002 is torn and skipped: " in told
    assert told.count("\n") == 1
    assert checkpoint is not None and checkpoint.step == 1
    # Training goes on and writes the same step again.
    store.save(2, tensors(2), META, None)
    again = store.latest()
    assert again is not None and again.step == 2
    assert_close(again.tensors["net.w"], tensors(2)["net.w"], rtol=0, atol=0)


def test_any_flipped_byte_is_noticed_or_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = saved(tmp_path, [1])
    rng = random.Random(0)
    for name in (STATE, MANIFEST):
        path = store.steps()[0] / name
        good = path.read_bytes()
        for _ in range(60):
            data = bytearray(good)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            checkpoint = store.latest()
            assert ("torn" in capsys.readouterr().err) == (checkpoint is None)
            if checkpoint is not None:  # the tensors and step must be right
                assert name == MANIFEST and checkpoint.step == 1
                assert torch.equal(checkpoint.tensors["net.w"], tensors(1)["net.w"])
        path.write_bytes(good)


def test_torn_later_steps_never_push_out_good_ones(tmp_path: Path) -> None:
    store = saved(tmp_path, [5, 10], keep_last=1)
    assert names(store) == [10]
    flip(store.steps()[0] / STATE)
    assert store.latest() is None
    for step in (2, 4):  # the run starts anew
        store.save(step, tensors(step), META, None)
        assert names(store) == [step]
    checkpoint = store.latest()
    assert checkpoint is not None and checkpoint.step == 4


@pytest.mark.parametrize(
    ("state", "meta", "why"),
    [(b"no tensors", META, ""), (None, ["no mapping"], "its manifest says nothing of the run")],
)
def test_a_true_checksum_of_what_is_no_checkpoint(
    state: bytes | None,
    meta: object,
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = saved(tmp_path, [1])
    (path,) = store.steps()
    if state is not None:
        (path / STATE).write_bytes(state)
    manifest = {"step": 1, "sha256": sha256_of(path / STATE), "score": None, "meta": meta}
    (path / MANIFEST).write_text(json.dumps(manifest))
    assert store.latest() is None
    assert f"is torn and skipped: {why}" in capsys.readouterr().err


def test_an_earlier_one_with_a_torn_manifest_stops_no_later_one(tmp_path: Path) -> None:
    store = saved(tmp_path, [1, 2])
    (store.steps()[0] / MANIFEST).write_text("{")
    store.save(3, tensors(3), META, None)
    assert names(store) == [2, 3]


def test_a_disk_that_fails_costs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path, [1, 2])

    def stale(path: Path) -> str:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    with monkeypatch.context() as failing:
        failing.setattr("hw2.checkpoint.sha256_of", stale)
        with pytest.raises(StorageError, match=r"step_00000002 cannot be read \(Stale file handle"):
            store.latest()
    checkpoint = store.latest()
    assert checkpoint is not None and checkpoint.step == 2 and names(store) == [1, 2]


def test_a_manifest_that_cannot_be_read_may_be_that_of_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path, keep_last=1)
    best = store.save(1, tensors(1), META, 0.1)
    store.save(2, tensors(2), META, 0.2)
    read = checkpoint_module.read_json

    def stale(path: Path) -> object:
        if path.parent == best:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return read(path)

    monkeypatch.setattr("hw2.checkpoint.read_json", stale)
    store.save(3, tensors(3), META, 0.3)
    assert best in store.steps()


def test_what_a_killed_save_leaves_is_not_believed_and_swept_away(tmp_path: Path) -> None:
    store = saved(tmp_path, [1])
    part = tmp_path / ".part-killed"
    shutil.copytree(store.steps()[0], part)
    assert names(store) == [1]
    store.save(2, tensors(2), META, None)
    assert not part.exists() and names(store) == [1, 2]


def test_a_checkpoint_is_weights_too(tmp_path: Path) -> None:
    net = nn.Linear(2, 3)
    state = {f"ema.{name}": value + 1 for name, value in net.state_dict().items()}
    store = CheckpointStore(tmp_path)
    path = store.save(7, state | {"optimizer.step": torch.ones(())}, META, 0.5) / STATE
    assert read_meta(path) == {**META, "step": 7}
    load_weights(path, net, "ema")
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[f"ema.{name}"])

    # Of before: a training goes on from it, and it is not called another's.
    save_file(state, path)
    manifest = json.loads((path.parent / MANIFEST).read_text())
    manifest["sha256"] = sha256_of(path)
    (path.parent / MANIFEST).write_text(json.dumps(manifest))
    checkpoint = store.latest()
    assert checkpoint is not None and checkpoint.tensors.keys() == state.keys()
    told = "has no hw2 metadata: an older version wrote this checkpoint, to go on from alone"
    with pytest.raises(CheckpointError, match=told):
        load_weights(path, net, "ema")


@contextlib.contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)])
def test_others_read_what_the_umask_lets_them(
    tmp_path: Path, mask: int, folder: int, file: int
) -> None:
    with umask(mask):
        step = CheckpointStore(tmp_path).save(1, tensors(1), META, None)
        save_weights(tmp_path / "final.safetensors", {"net": nn.Linear(2, 2)}, META)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (step, *step.iterdir())}
    assert modes == {step.name: folder, STATE: file, MANIFEST: file}
    assert (tmp_path / "final.safetensors").stat().st_mode & 0o777 == file


def test_the_manifest_is_readable_json(tmp_path: Path) -> None:
    path = CheckpointStore(tmp_path).save(7, tensors(7), META, 0.25)
    manifest = json.loads((path / MANIFEST).read_text())
    assert (manifest["step"], manifest["score"], manifest["meta"]) == (7, 0.25, META)


def test_all_of_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(handle: int) -> None:
        told.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")).split("-")[0])
        sync(handle)

    def renamed(path: Path, target: Path) -> Path:
        told.append(f"rename {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    open_before = len(os.listdir("/proc/self/fd"))
    CheckpointStore(tmp_path / "checkpoints").save(7, tensors(7), META, None)
    assert told == [STATE, MANIFEST, ".part", "rename step_00000007", "checkpoints"]
    told.clear()
    save_weights(tmp_path / "final.safetensors", {"net": nn.Linear(2, 2)}, META)
    assert told == [".final.safetensors.part", "rename final.safetensors"]
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3) as disk:
        store = CheckpointStore(disk / "checkpoints", keep_last=1)
        large = {"weight": torch.zeros(2**18)}  # a megabyte
        store.save(1, large, META, None)
        (disk / "filler").write_bytes(bytes(2**20))
        for write in (
            lambda: store.save(2, large, META, None),
            lambda: save_weights(disk / "final.safetensors", {"net": nn.Linear(512, 512)}, META),
        ):
            with pytest.raises(StorageError) as refused:
                write()
            assert "(No space left on device): what was saved before stays" in str(refused.value)
        assert names(store) == [1]
        assert not list(disk.rglob(".*"))  # the room that there is stays free
        kept = store.latest()
        assert kept is not None
        assert kept.step == 1
        (disk / "filler").unlink()
        store.save(2, large, META, None)
        assert names(store) == [2]
