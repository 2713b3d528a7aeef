"""Trainings in which part of the network stands still."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hw2.errors import CheckpointError
from hw2.events import Saved
from hw2.models.ema import PowerEma, moving
from hw2.train_state import FrozenMoved, frozen_digest
from hw2.weights import load_weights
from tests.toy import toy_net, toy_train

MOVING = {"2.weight", "2.bias", "3.weight", "3.bias"}


def half_frozen() -> nn.Module:
    net = toy_net()
    net[0].requires_grad_(False)
    return net


def test_the_frozen_half_is_as_it_was_and_not_stored(tmp_path: Path) -> None:
    net, first = half_frozen(), half_frozen().state_dict()
    ends = [event.ema for event in toy_train(tmp_path, net=net) if isinstance(event, Saved)]
    for name, value in net.state_dict().items():
        assert torch.equal(value, first[name]) == (name not in MOVING), name
    assert {name.partition(".")[2] for name in load_file(tmp_path / "final.safetensors")} == MOVING
    newest = max((tmp_path / "checkpoints").glob("step_*"))
    stored = set(load_file(newest / "state.safetensors"))
    assert {name for name in stored if name.startswith(("net.", "ema."))} == {
        f"{which}.{name}" for which in ("net", "ema") for name in MOVING
    }
    # The average shares what stands still.
    assert ends[-1][0].weight.data_ptr() == net[0].weight.data_ptr()

    again = half_frozen()
    load_weights(tmp_path / "final.safetensors", again, "net", only=moving(again))
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in again.state_dict().items())
    with pytest.raises(CheckpointError, match=r"missing 0\.weight"):
        load_weights(tmp_path / "final.safetensors", again, "net")


def test_resuming_is_bit_equal(tmp_path: Path) -> None:
    for _ in toy_train(tmp_path / "whole", net=half_frozen()):
        pass
    for _ in itertools.islice(toy_train(tmp_path / "cut", net=half_frozen()), 8):
        pass
    for _ in toy_train(tmp_path / "cut", net=half_frozen()):
        pass
    ends = [(tmp_path / name / "final.safetensors").read_bytes() for name in ("whole", "cut")]
    assert ends[0] == ends[1]


def test_a_frozen_weight_that_moves_by_a_bit_is_told_and_nothing_saved(tmp_path: Path) -> None:
    net = half_frozen()
    with pytest.raises(FrozenMoved, match="step 6: a frozen weight changed"):
        for event in toy_train(tmp_path, net=net):
            if isinstance(event, Saved):
                with torch.no_grad():
                    weight = net[0].weight.view(torch.int32)
                    weight[0, 0] ^= 1
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_00000003"]


def test_digest_sees_names_and_bits() -> None:
    assert frozen_digest(toy_net()) == ""
    assert frozen_digest(half_frozen()) == frozen_digest(half_frozen()) != ""
    whole = half_frozen().requires_grad_(False)
    assert frozen_digest(whole) != frozen_digest(half_frozen())


def test_average_of_the_moving_half_alone() -> None:
    net = half_frozen()
    ema = PowerEma(net, 0.1)
    with torch.no_grad():
        net[3].bias.fill_(5.0)
    ema.update(net, 1)
    assert float(ema.net[3].bias) == 5.0
    assert set(moving(net)) == MOVING and not any(p.requires_grad for p in ema.net.parameters())
