"""The training loop, bare: schedule, shares of workers, resuming after any interruption."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hw2.errors import ConfigError, StorageError
from hw2.gradients import Place
from hw2.settings.training import TrainConfig
from hw2.training import Row, Saved, TrainingDiverged, learning_rate, train
from tests.toy import KILLED, PairSource, toy_net, toy_train

ROOT = Path(__file__).parents[1]
ROW_KEYS = {
    "train/loss",
    "train/wrong",
    "train/learning_rate",
    "train/gradient_norm",
    "train/pictures_per_second",
    "train/data_wait_share",
}


def bits(out: Path) -> tuple[bytes, bytes]:
    """What must not depend on interruptions: the final weights, and all of the last state."""
    newest = max((out / "checkpoints").glob("step_*"))
    return (out / "final.safetensors").read_bytes(), (newest / "state.safetensors").read_bytes()


def finish(out: Path, **settings: object) -> list[Row]:
    return [event for event in toy_train(out, **settings) if isinstance(event, Row)]


def toy_process(*words: object) -> str:
    """Run `python -m tests.toy` and return what it printed."""
    command = [sys.executable, "-m", "tests.toy", *map(str, words)]
    told = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return told.stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    finish(out)
    return out


@pytest.mark.parametrize("decay", ["none", "linear", "cosine"])
def test_learning_rate_warms_up_and_decays(decay: str) -> None:
    config = TrainConfig(num_steps=100, warmup_steps=10, learning_rate=0.5, decay=decay)
    rates = [learning_rate(config, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    for step in range(11, 101):
        left = (101 - step) / 90
        want = {"none": 1, "linear": left, "cosine": (1 + math.cos(math.pi * (1 - left))) / 2}
        assert rates[step - 1] == pytest.approx(0.5 * want[decay])


def test_every_step_has_one_row_and_the_loss_falls(tmp_path: Path) -> None:
    events = list(toy_train(tmp_path, num_steps=150, checkpoint_every=50, learning_rate=0.02))
    rows = [event for event in events if isinstance(event, Row)]
    assert [row.step for row in rows] == list(range(1, 151))
    assert all(set(row.values) == ROW_KEYS for row in rows)
    assert [event.step for event in events if isinstance(event, Saved)] == [50, 100, 150]
    losses = [row.values["train/loss"] for row in rows]
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20])
    assert all(0 <= row.values["train/data_wait_share"] <= 1 for row in rows)


def test_rows_are_thinned_but_checkpoints_have_theirs(tmp_path: Path) -> None:
    assert [row.step for row in finish(tmp_path, log_every=5)] == [3, 5, 6, 9, 10, 12]


@pytest.mark.parametrize("stop", range(1, 13))
def test_a_run_stopped_at_any_step_ends_bit_equal(
    stop: int, undisturbed: Path, tmp_path: Path
) -> None:
    for event in toy_train(tmp_path):
        if isinstance(event, Row) and event.step == stop:
            break
    rows = finish(tmp_path)
    assert [row.step for row in rows] == list(range((stop - 1) // 3 * 3 + 1, 13))
    assert bits(tmp_path) == bits(undisturbed)


def test_dropout_is_drawn_again_alike(tmp_path: Path) -> None:
    def dropping() -> nn.Module:
        return nn.Sequential(toy_net()[0], nn.Dropout(0.5), toy_net()[3])

    for event in toy_train(tmp_path / "stopped", net=dropping()):
        if event.step == 8:
            break
    for name in ("stopped", "undisturbed"):
        finish(tmp_path / name, net=dropping())
    assert bits(tmp_path / "stopped") == bits(tmp_path / "undisturbed")


def test_a_finished_run_is_left_as_it_is(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    assert finish(undisturbed) == []
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before


@pytest.mark.parametrize("file", ["state.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["shortened", "flipped", "missing"])
def test_a_torn_newest_checkpoint_is_skipped(
    file: str, damage: str, undisturbed: Path, tmp_path: Path
) -> None:
    for event in toy_train(tmp_path):
        if isinstance(event, Saved) and event.step == 9:
            break
    torn = tmp_path / "checkpoints" / "step_00000009" / file
    content = torn.read_bytes()
    middle = len(content) // 2
    if damage == "shortened":
        torn.write_bytes(content[:middle])
    elif damage == "flipped":
        torn.write_bytes(content[:middle] + b"\0\0" + content[middle + 2 :])
    else:
        torn.unlink()
    with pytest.warns(UserWarning, match="step_00000009 is torn and skipped"):
        rows = finish(tmp_path)
    assert rows[0].step == 7
    assert bits(tmp_path) == bits(undisturbed)


def test_accumulation_changes_only_the_order_of_sums(undisturbed: Path, tmp_path: Path) -> None:
    finish(tmp_path, accumulate=3)  # 8 pictures in passes of 3, 3 and 2
    assert_same_weights(tmp_path, undisturbed)


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 8), (3, 10)])
def test_workers_agree_with_one(world_size: int, batch_size: int, tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    many.mkdir()
    finish(one, batch_size=batch_size)
    toy_process("gloo", many, world_size, batch_size)
    assert_same_weights(many, one)


def test_workers_that_see_different_checkpoints_are_refused(tmp_path: Path) -> None:
    for rank, steps in ((0, 6), (1, 3)):
        finish(tmp_path / str(rank), num_steps=steps)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        toy_process("gloo", tmp_path, 2, 8)
    assert "newest checkpoints are of different steps: [6, 3]" in caught.value.stderr


def test_an_error_at_a_row_is_held_until_the_checkpoint_which_is_not_made(tmp_path: Path) -> None:
    events, wrong = toy_train(tmp_path), StorageError("no room")
    found = [next(events), next(events), events.throw(wrong), next(events), next(events)]
    assert [event.step for event in found] == [0, 1, 2, 3, 3]
    assert isinstance(found[-1], Saved)
    assert found[-1].error is wrong
    assert not list((tmp_path / "checkpoints").glob("step_*"))
    with pytest.raises(StorageError, match="no room"):
        next(events)


def assert_same_weights(out: Path, other: Path) -> None:
    """Equal but for the order in which floats were added up, AdamW's moments included."""
    for name in ("final.safetensors", "checkpoints/step_00000012/state.safetensors"):
        got, want = load_file(out / name), load_file(other / name)
        assert got.keys() == want.keys()
        for key, value in want.items():
            torch.testing.assert_close(got[key], value, rtol=2e-4, atol=1e-6, msg=key)


def test_shares_cover_the_batch_once() -> None:
    for world_size in range(1, 8):
        shares = [Place(rank, world_size).share(17) for rank in range(world_size)]
        assert [sample for share in shares for sample in share] == list(range(17))
        sizes = {len(share) for share in shares}
        assert max(sizes) - min(sizes) <= 1


def test_a_batch_smaller_than_the_workers_is_refused(tmp_path: Path) -> None:
    want = r"train.batch_size=2 is smaller than the number of workers 3: raise it"
    with pytest.raises(ConfigError, match=want):
        next(toy_train(tmp_path, Place(0, 3), batch_size=2))
    assert not list(tmp_path.iterdir())


def test_a_gpu_with_too_little_memory_is_told_in_a_line(tmp_path: Path) -> None:
    def too_large(*told: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    config = TrainConfig(num_steps=2, batch_size=8, precision="fp32")
    with pytest.raises(ConfigError, match=r"too little memory for this: lower train.batch_size=8"):
        list(train(toy_net(), too_large, PairSource(), config, seed=0, out=tmp_path, meta={}))


@pytest.mark.parametrize("log_every", [1, 5])  # the step is told also where it had no row
def test_a_training_that_diverges_says_so_and_keeps_the_last_good_state(
    log_every: int, tmp_path: Path
) -> None:
    net = toy_net()
    events = toy_train(tmp_path, net=net, log_every=log_every)
    with pytest.raises(TrainingDiverged) as caught:
        for event in events:
            if isinstance(event, Saved) and event.step == 6:
                with torch.no_grad():
                    next(net.parameters()).fill_(math.nan)
    assert str(caught.value).startswith("step 7: loss nan, gradient norm nan: lower train.learning")
    assert "\n" not in str(caught.value)
    state = load_file(max((tmp_path / "checkpoints").glob("step_*")) / "state.safetensors")
    assert all(value.isfinite().all() for value in state.values())
    assert not (tmp_path / "final.safetensors").exists()


def test_processes_killed_at_random_moments_end_bit_equal(tmp_path: Path) -> None:
    finish(tmp_path / "undisturbed", **KILLED)
    seed = time.time_ns() % 10**6
    print(f"seed of the kills: {seed}")
    kills = int(toy_process("kill", tmp_path / "killed", seed))
    assert kills >= 3
    assert bits(tmp_path / "killed") == bits(tmp_path / "undisturbed")
    assert not list((tmp_path / "killed").glob("**/.*part*"))
