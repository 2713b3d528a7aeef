"""The power-function average against its closed form and its definition of width."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hw2.models.ema import PowerEma, power_of_width


def net_with(value: float) -> nn.Linear:
    net = nn.Linear(1, 2).double()
    with torch.no_grad():
        net.weight.fill_(value)
        net.bias.fill_(-value)
    return net


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_equals_the_weighted_average_in_closed_form(width: float) -> None:
    """Weight of step i after t: the integral of tau^gamma over [i-1, i], divided by [0, t]'s."""
    values = np.random.default_rng(0).normal(size=30)
    ema = PowerEma(net_with(1e6), width)  # the start must be forgotten wholly
    gamma = ema.gamma
    edges = np.arange(31, dtype=np.float64) ** (gamma + 1)
    for t, value in enumerate(values, start=1):
        ema.update(net_with(value), t)
        weights = np.diff(edges[: t + 1]) / edges[t]
        assert_close(float(ema.net.weight[0, 0]), float(weights @ values[:t]))
        assert_close(float(ema.net.bias[1]), -float(weights @ values[:t]))


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_width_is_the_profiles_relative_standard_deviation(width: float) -> None:
    gamma = power_of_width(width)
    tau = (np.arange(2_000_000) + 0.5) / 2_000_000
    profile = tau**gamma / np.sum(tau**gamma)
    mean = np.sum(profile * tau)
    assert_close(np.sqrt(np.sum(profile * (tau - mean) ** 2)), np.float64(width), rtol=1e-5, atol=0)


def test_published_pairs() -> None:
    """Karras et al. 2024, section C: widths 0.05 and 0.1 are gamma 16.97 and 6.94."""
    assert power_of_width(0.05) == pytest.approx(16.97, abs=0.005)
    assert power_of_width(0.10) == pytest.approx(6.94, abs=0.005)


def test_the_average_is_a_frozen_copy() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    ema = PowerEma(net, 0.1)
    ema.update(net, 1)
    assert not ema.net.training and net.training
    assert not any(p.requires_grad for p in ema.net.parameters())
    assert {p.data_ptr() for p in net.parameters()}.isdisjoint(
        p.data_ptr() for p in ema.net.parameters()
    )


def test_whole_numbers_among_the_buffers_are_left_alone() -> None:
    net = nn.BatchNorm1d(2)
    ema = PowerEma(net, 0.1)
    net(torch.ones(4, 2))
    ema.update(net, 1)
    assert_close(ema.net.running_mean, net.running_mean)
    assert int(net.num_batches_tracked) == 1 and int(ema.net.num_batches_tracked) == 0
