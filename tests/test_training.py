"""The training loop, bare: schedule, shares of workers, resuming after any interruption."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hw2.diffusion.counter import CounterRandom
from hw2.errors import CheckpointError, ConfigError, StorageError
from hw2.events import Row, Saved
from hw2.gradients import Place
from hw2.locate import find_model
from hw2.models.ema import PowerEma
from hw2.settings.training import TrainConfig
from hw2.training import Training, TrainingDiverged, learning_rate, train
from hw2.weights import load_weights, read_meta
from tests.jobs.command import bits
from tests.toy import KILLED, Pairs, PairSource, noisy_error, toy_net, toy_process, toy_train

ROW_KEYS = {
    "train/loss",
    "train/wrong",
    "train/learning_rate",
    "train/gradient_norm",
    "train/pictures_per_second",
    "train/data_wait_share",
}


def finish(out: Path, **settings: object) -> list[Row]:
    return [event for event in toy_train(out, **settings) if isinstance(event, Row)]


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


def test_steps_are_adamws_on_clipped_gradients(tmp_path: Path) -> None:
    """Beside a plain loop, with no setting at its default."""
    settings: dict[str, Any] = {
        "learning_rate": 0.05,
        "decay": "cosine",
        "weight_decay": 0.3,
        "betas": (0.6, 0.7),
        "clip_norm": 0.4,
        "ema_width": 0.2,
    }
    rows = finish(tmp_path, **settings)
    config = TrainConfig(num_steps=12, batch_size=8, warmup_steps=2, **settings)
    net = toy_net()
    ema = PowerEma(net, 0.2)
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.6, 0.7), weight_decay=0.3)
    for step in range(1, 13):
        samples = range(8)
        batch = PairSource().batch(step, samples, 8)
        loss, extra = noisy_error(net, batch, CounterRandom(5, step, samples))
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 0.4)
        rate = optimizer.param_groups[0]["lr"] = learning_rate(config, step)
        optimizer.step()
        ema.update(net, step)
        keys = ("loss", "wrong", "learning_rate", "gradient_norm")
        told = [rows[step - 1].values[f"train/{key}"] for key in keys]
        assert told == pytest.approx(
            [float(loss.detach()), float(extra["wrong"]), rate, float(norm)]
        )
    assert float(norm) > 0.4  # there was something to clip
    meta = read_meta(tmp_path / "final.safetensors")
    assert (meta["kind"], meta["step"]) == ("toy", 12)
    found = load_file(tmp_path / "final.safetensors")
    for prefix, of in (("net", net), ("ema", ema.net)):
        for name, value in of.state_dict().items():
            torch.testing.assert_close(found[f"{prefix}.{name}"], value, rtol=1e-4, atol=1e-6)


def test_the_averaged_weights_are_measured_and_the_best_checkpoint_stays(tmp_path: Path) -> None:
    losses, measured = iter((0.5, 0.2, 0.4, 0.3)), []

    def evaluate(net: nn.Module) -> dict[str, float]:
        measured.append(net)
        return {"eval/loss": next(losses)}

    config = TrainConfig(
        num_steps=12, batch_size=8, checkpoint_every=3, keep_last=1, precision="fp32"
    )
    training = Training(toy_net(), noisy_error, PairSource(), config, 5, tmp_path)
    events = list(train(replace(training, evaluate=evaluate)))
    saved = [event for event in events if isinstance(event, Saved)]
    assert measured == [event.ema for event in saved]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step_00000006", "step_00000012"]
    last, final = (find_model(str(tmp_path / of)) for of in (f"checkpoints/{kept[1]}", ""))
    assert read_meta(last) == read_meta(final)  # a checkpoint can be given as a model
    for path in (last, final):
        load_weights(path, net := toy_net(), "ema")
        for name, value in measured[-1].state_dict().items():
            assert torch.equal(net.state_dict()[name], value)
    rows = {event.step: event.values for event in events if isinstance(event, Row)}
    assert [step for step, values in rows.items() if "eval/loss" in values] == [3, 6, 9, 12]
    assert rows[6]["eval/loss"] == 0.2


def test_rows_are_thinned_but_checkpoints_have_theirs(tmp_path: Path) -> None:
    assert [row.step for row in finish(tmp_path, log_every=5)] == [3, 5, 6, 9, 10, 12]


def test_a_row_s_pace_is_of_all_steps_since_the_row_before(tmp_path: Path) -> None:
    class Slow(PairSource):
        def batch(self, step: int, samples: Sequence[int], batch_size: int) -> Pairs:
            time.sleep(0.01)
            return super().batch(step, samples, batch_size)

    config = TrainConfig(num_steps=18, batch_size=8, log_every=6, precision="fp32")
    events = train(Training(toy_net(), noisy_error, Slow(), config, 5, tmp_path))
    at, pictures = 0.0, []
    for event in events:
        if isinstance(event, Row):
            now = time.perf_counter()
            pictures.append(event.values["train/pictures_per_second"] * (now - at))
            at = now
            assert event.values["train/data_wait_share"] > 0.2
    assert all(24 < count < 96 for count in pictures[1:])  # about 48, told by another clock


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


def test_rows_and_checkpoints_at_other_steps_from_now_on_change_no_bit(
    undisturbed: Path, tmp_path: Path
) -> None:
    for event in toy_train(tmp_path):
        if isinstance(event, Row) and event.step == 7:
            break
    rows = finish(tmp_path, checkpoint_every=4, log_every=5)
    assert [row.step for row in rows] == [8, 10, 12]
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


def dropped(out: Path, seed: int, **settings: object) -> dict[tuple[int, int], bytes]:
    """What dropout left of ones, by step and by first sample of the pass; `net` comes in eval."""
    found = {}

    def keep(
        net: nn.Module, batch: Pairs, random: CounterRandom
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        left = nn.functional.dropout(torch.ones(64), 0.5, net.training)
        found[random.step, random.samples[0]] = left.numpy().tobytes()
        return net(batch.x).mean(), {}

    config = TrainConfig(num_steps=3, batch_size=4, precision="fp32", **settings)
    for _ in train(Training(toy_net().eval(), keep, PairSource(), config, seed, out)):
        pass
    return found


def test_dropout_differs_by_seed_step_and_pass(tmp_path: Path) -> None:
    one = dropped(tmp_path / "one", 1, accumulate=2)
    other = dropped(tmp_path / "other", 2, accumulate=2)
    assert one.keys() == other.keys() and len(one) == 6
    assert len({*one.values(), *other.values()}) == 12


def test_a_finished_run_is_left_as_it_is(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    assert finish(undisturbed) == []
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before


def test_a_finished_run_needs_its_checkpoints_no_more(tmp_path: Path) -> None:
    finish(tmp_path)
    weights = (tmp_path / "final.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "checkpoints")
    assert finish(tmp_path) == []
    assert (tmp_path / "final.safetensors").read_bytes() == weights
    assert len(finish(tmp_path, num_steps=13)) == 13  # to train on it needs them


def test_final_weights_of_fewer_steps_do_not_count(undisturbed: Path, tmp_path: Path) -> None:
    finish(tmp_path, num_steps=13)
    longer = (tmp_path / "final.safetensors").read_bytes()
    shutil.copy(undisturbed / "final.safetensors", tmp_path)
    assert finish(tmp_path, num_steps=13) == []
    assert (tmp_path / "final.safetensors").read_bytes() == longer


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    config = TrainConfig(num_steps=2, batch_size=8, checkpoint_every=1, precision="fp32")

    def run(num_steps: int, **meta: object) -> None:
        asked = config.model_copy(update={"num_steps": num_steps})
        list(train(Training(toy_net(), noisy_error, PairSource(), asked, 5, tmp_path, meta)))

    run(2, data_hash="a", sides=(1, 2))
    before = bits(tmp_path)
    with pytest.raises(CheckpointError, match="training began there with another data_hash: ch"):
        run(4, data_hash="b", sides=(1, 2))
    with pytest.raises(CheckpointError, match="training began there with another kind: ch"):
        run(4, data_hash="a", sides=(1, 2), kind="which the checkpoint does not say")
    assert bits(tmp_path) == before
    run(4, data_hash="a", sides=(1, 2))
    assert bits(tmp_path) != before


@pytest.mark.parametrize("left", [None, 0, 0.9])
def test_final_weights_that_are_gone_or_torn_are_written_again(
    tmp_path: Path, left: float | None
) -> None:
    finish(tmp_path)
    before = bits(tmp_path)
    (tmp_path / "final.safetensors").unlink()
    if left is not None:
        whole = before[0]
        (tmp_path / "final.safetensors").write_bytes(whole[: int(left * len(whole))])
    assert finish(tmp_path) == []
    assert bits(tmp_path) == before


def test_a_torn_newest_checkpoint_is_skipped(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What counts as torn: tests/test_checkpoint.py."""
    for event in toy_train(tmp_path):
        if isinstance(event, Saved) and event.step == 9:
            break
    torn = tmp_path / "checkpoints/step_00000009/state.safetensors"
    torn.write_bytes(torn.read_bytes()[:-9])
    capsys.readouterr()
    rows = finish(tmp_path)
    assert "step_00000009 is torn and skipped" in capsys.readouterr().err
    assert rows[0].step == 7
    assert bits(tmp_path) == bits(undisturbed)


def test_accumulation_changes_only_the_order_of_sums(undisturbed: Path, tmp_path: Path) -> None:
    rows = finish(tmp_path / "parts", accumulate=3)  # 8 pictures in passes of 3, 3 and 2
    assert_same_weights(tmp_path / "parts", undisturbed)
    assert_same_rows(rows, finish(tmp_path / "whole"))


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 8), (3, 10)])
def test_workers_agree_with_one(world_size: int, batch_size: int, tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    many.mkdir()
    rows = finish(one, batch_size=batch_size)
    toy_process("gloo", many, world_size, batch_size)
    assert_same_weights(many, one)
    told = json.loads((many / "rows.json").read_text())  # worker 0's
    assert_same_rows([Row(**row) for row in told], rows)


def test_workers_that_see_different_checkpoints_are_refused(tmp_path: Path) -> None:
    for rank, steps in ((0, 6), (1, 3)):
        finish(tmp_path / str(rank), num_steps=steps)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        toy_process("gloo", tmp_path, 2, 8)
    assert "newest checkpoints are of different steps: [6, 3]" in caught.value.stderr


def test_a_worker_that_does_not_see_the_final_weights_ends_all(tmp_path: Path) -> None:
    for rank in (0, 1):
        finish(tmp_path / str(rank))
    (tmp_path / "1/final.safetensors").unlink()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        toy_process("gloo", tmp_path, 2, 8)
    assert "not all see that the training is done" in caught.value.stderr


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


def assert_same_rows(rows: list[Row], others: list[Row]) -> None:
    """The same numbers of each step, but for the order of sums and for times."""
    for key in ("loss", "wrong", "gradient_norm"):
        told = [[row.values[f"train/{key}"] for row in of] for of in (rows, others)]
        assert told[0] == pytest.approx(told[1], rel=1e-4)


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
        list(train(Training(toy_net(), too_large, PairSource(), config, 0, tmp_path)))


@pytest.mark.parametrize(
    ("place", "way_out"),
    [
        ("torch.nn.Module.to", "free it of other programs"),
        ("torch.optim.AdamW.step", "lower train.batch_size=8, or raise train.accumulate=1; check"),
        ("tests.test_training.nothing_measured", "lower train.batch_size=8"),
    ],
)
@pytest.mark.parametrize("said", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_so_it_is_wherever_a_training_asks_for_memory(
    place: str, way_out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*told: object, **more: object) -> object:
        raise RuntimeError(said)  # not of torch's own allocator

    monkeypatch.setattr(place, full)
    config = TrainConfig(num_steps=2, batch_size=8, precision="fp32")
    training = Training(toy_net(), noisy_error, PairSource(), config, 0, tmp_path)
    training = replace(training, evaluate=lambda net: nothing_measured(net))
    with pytest.raises(ConfigError, match=f"^the GPU has too little memory for this: {way_out}"):
        list(train(training))
    several = Place(world_size=2).room_on_gpu(way_out)
    with pytest.raises(RuntimeError, match=said), several:  # there torch's error stays
        full()


def nothing_measured(net: nn.Module) -> dict[str, float]:
    """An `evaluate` without numbers."""
    return {}


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


def test_an_update_that_overflows_is_told_and_not_saved(tmp_path: Path) -> None:
    events = toy_train(tmp_path, learning_rate=1e39, warmup_steps=0, checkpoint_every=1)
    with pytest.raises(TrainingDiverged, match="step 1: a weight is no longer a number: lower"):
        list(events)
    assert not list((tmp_path / "checkpoints").glob("step_*"))


def test_processes_killed_at_random_moments_end_bit_equal(tmp_path: Path) -> None:
    finish(tmp_path / "undisturbed", **KILLED)
    seed = time.time_ns() % 10**6
    print(f"seed of the kills: {seed}")
    kills = int(toy_process("kill", tmp_path / "killed", seed))
    assert kills >= 3
    assert bits(tmp_path / "killed") == bits(tmp_path / "undisturbed")
    assert not list((tmp_path / "killed").glob("**/.*part*"))
