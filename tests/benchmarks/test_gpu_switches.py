"""The GPU's table: what of it a CPU can run."""

import gpu_switches
import pytest
import torch

from hw2.models.digit_unet import build_digit_unet
from hw2.settings.digits import NetworkConfig


def test_without_a_gpu_it_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_switches.main([]) == 2
    assert capsys.readouterr().err == (
        "error: no GPU here: run this where torch.cuda.is_available()\n"
    )


def test_each_switch_is_set_against_none() -> None:
    net, device = build_digit_unet(NetworkConfig(), 0), torch.device("cpu")
    before = {name: p.clone() for name, p in net.named_parameters()}
    rows = gpu_switches.measure(net, ("bf16", "channels_last"), device, 1, 1, 1)
    assert [(row["what"], row["switch"]) for row in rows] == [
        (what, switch)
        for what in ("drawing call", "training step")
        for switch in ("plain", "bf16", "channels_last")
    ]
    assert all(row["times plain"] == 1 for row in rows if row["switch"] == "plain")
    assert all(row["value"] > 0 for row in rows)
    for name, p in net.named_parameters():  # copies were trained
        assert torch.equal(p, before[name])
