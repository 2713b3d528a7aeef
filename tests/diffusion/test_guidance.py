"""Classifier-free guidance: its limits, diffusers' form, its interval and its cost."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hw2.diffusion.guidance import Guidance, GuidedDenoiser, guide
from hw2.diffusion.prediction import PredictionType
from hw2.diffusion.schedule import cosine_schedule
from hw2.errors import ConfigError

SCHEDULE = cosine_schedule(100)
DIGIT, DOMAIN = torch.tensor([3, 7]), torch.tensor([0, 1])
NULLS = torch.tensor([10, 10]), torch.tensor([2, 2])
XT = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net:
    """A function of picture, time and labels that remembers the batches it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, ...]] = []

    def __call__(self, xt: Tensor, t: Tensor, digit: Tensor, domain: Tensor) -> Tensor:
        self.calls.append((xt, t, digit, domain))
        return torch.tanh(xt + (0.03 * t + 0.2 * digit - 0.5 * domain).view(-1, 1, 1, 1))


def denoiser(
    w: float = 2.0,
    interval: tuple[float, float] = (0.0, 1.0),
    kind: PredictionType = "epsilon",
) -> tuple[GuidedDenoiser, Net]:
    net = Net()
    guidance = Guidance(w, interval)
    return GuidedDenoiser(net, SCHEDULE, guidance, kind, (DIGIT, DOMAIN), NULLS), net


def alone(digit: Tensor, domain: Tensor, t: int, kind: PredictionType = "epsilon") -> Tensor:
    """One branch, without guidance."""
    output = Net()(XT, torch.tensor([t, t]), digit, domain)
    alpha_bar = SCHEDULE.alphas_cumprod[t]
    if kind == "epsilon":
        return output
    return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * XT


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("w", [-1.0, 0.0, 0.5, 2.0, 6.5])
def test_equals_diffusers_form_with_scale_1_plus_w(kind: PredictionType, w: float) -> None:
    cond, uncond = alone(DIGIT, DOMAIN, 60, kind), alone(*NULLS, 60, kind)
    guidance_scale = 1 + w
    theirs = uncond + guidance_scale * (cond - uncond)
    ours, _ = denoiser(w, kind=kind)
    assert_close(ours(XT, 60), theirs)


def test_limits() -> None:
    cond, uncond = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(guide(cond, uncond, 0.0), cond)
    assert torch.equal(guide(cond, uncond, -1.0), uncond)
    middle = (guide(cond, uncond, 1.0) + guide(cond, uncond, 3.0)) / 2
    assert_close(guide(cond, uncond, 2.0), middle)


def test_one_doubled_call_with_labels_and_null_labels() -> None:
    ours, net = denoiser()
    ours(XT, 5)
    ((xt, t, digit, domain),) = net.calls
    assert torch.equal(xt, torch.cat([XT, XT])) and t.tolist() == [5] * 4
    assert digit.tolist() == [3, 7, 10, 10] and domain.tolist() == [0, 1, 2, 2]


def test_outside_the_interval_only_the_conditional_branch_is_called() -> None:
    ours, net = denoiser(w=2.0, interval=(0.2, 0.6))
    sizes = {}
    for t in range(100):
        got = ours(XT, t)
        sizes[t] = len(net.calls[-1][0])
        if sizes[t] == 2:
            assert torch.equal(got, alone(DIGIT, DOMAIN, t))
    # Timestep t has the noise of level (t + 1) / T.
    assert [t for t, size in sizes.items() if size == 4] == list(range(19, 60))
    assert len(net.calls) == 100
    assert ours.num_network_calls == 100 + 41


def test_weight_0_costs_one_call() -> None:
    ours, net = denoiser(w=0.0)
    assert torch.equal(ours(XT, 99), alone(DIGIT, DOMAIN, 99))
    assert ours.num_network_calls == 1 and len(net.calls[0][0]) == 2


def test_whole_interval_acts_everywhere() -> None:
    assert all(Guidance(1.0).acts_at(t, 1000) for t in range(1000))


def test_an_interval_of_one_level() -> None:
    guidance = Guidance(1.0, (0.5, 0.5))
    assert [t for t in range(100) if guidance.acts_at(t, 100)] == [49]


@pytest.mark.parametrize("w", [0.0, 6.5])
def test_a_network_s_own_precision_is_not_magnified(w: float) -> None:
    def rough(*told: Tensor) -> Tensor:
        return net(*told).bfloat16()

    ours, net = denoiser(w)
    ours.net = rough
    cond, uncond = (alone(*told, 60).bfloat16().double() for told in ((DIGIT, DOMAIN), NULLS))
    assert_close(ours(XT, 60), guide(cond, uncond, w), rtol=0, atol=0)


@pytest.mark.parametrize("interval", [(0.6, 0.2), (-0.1, 1.0), (0.0, 1.5), (float("nan"), 1.0)])
def test_impossible_interval(interval: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"guidance_interval=.*need 0 <= low <= high <= 1"):
        Guidance(1.0, interval)
