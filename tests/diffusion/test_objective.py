"""The objective against a naive loop, published weights, and exact expectations."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.objective import DigitBatch, LabelledObjective, min_snr_weight
from hw2.diffusion.prediction import PredictionType
from hw2.diffusion.schedule import cosine_schedule, linear_schedule


class ToyNet(nn.Module):
    """A fixed function of all four inputs."""

    def forward(self, xt: Tensor, t: Tensor, digit: Tensor, domain: Tensor) -> Tensor:
        shift = (0.1 * t + digit - 3 * domain).view(-1, 1, 1, 1)
        return torch.sin(xt + shift)


def some_batch(size: int) -> DigitBatch:
    generator = torch.Generator().manual_seed(0)
    return DigitBatch(
        torch.randint(256, (size, 3, 4, 4), generator=generator, dtype=torch.uint8),
        torch.randint(10, (size,), generator=generator),
        torch.randint(2, (size,), generator=generator),
    )


class EvenRandom(CounterRandom):
    """Evenly spread uniforms and one noise for all, so that a mean is an exact expectation."""

    def uniform(self, stream: Stream) -> Tensor:
        return ((torch.arange(len(self.samples)) + 0.5) / len(self.samples)).float()

    def normal(self, stream: Stream, *shape: int) -> Tensor:
        return super().normal(stream, *shape)[:1].expand(len(self.samples), *shape)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_equals_a_naive_loop(kind: PredictionType, gamma: float | None) -> None:
    schedule = cosine_schedule(50)
    objective = LabelledObjective(schedule, kind, label_dropout=0.3, min_snr_gamma=gamma)
    batch, random = some_batch(12), CounterRandom(1, 2, range(12))
    loss, _ = objective(ToyNet(), batch, random)

    u, drop = random.uniform(Stream.TIMESTEP), random.uniform(Stream.LABEL_DROPOUT)
    noises = random.normal(Stream.NOISE, 3, 4, 4)
    errors = []
    for i in range(12):
        x0 = np.asarray(batch.images[i], dtype=np.float64) / 127.5 - 1
        t, eps = int(float(u[i]) * 50), noises[i].double().numpy()
        alpha_bar = float(np.prod(1 - schedule.betas.numpy()[: t + 1]))
        xt = np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * eps
        v = np.sqrt(alpha_bar) * eps - np.sqrt(1 - alpha_bar) * x0
        dropped = float(drop[i]) < 0.3
        digit = 10 if dropped else int(batch.digit[i])
        domain = 2 if dropped else int(batch.domain[i])
        target = eps if kind == "epsilon" else v
        error = np.mean((np.sin(xt + 0.1 * t + digit - 3 * domain) - target) ** 2)
        snr = alpha_bar / (1 - alpha_bar)
        weight = min(snr, gamma) / (snr if kind == "epsilon" else snr + 1) if gamma else 1.0
        errors.append(weight * error)
    assert_close(float(loss), float(np.mean(errors)), rtol=1e-5, atol=0)


def test_shares_add_up_to_the_whole() -> None:
    """What makes one worker and two, and accumulation, the same training."""
    objective = LabelledObjective(linear_schedule(50), min_snr_gamma=5.0, timesteps="importance")
    batch = some_batch(7)
    whole, _ = objective(ToyNet(), batch, CounterRandom(0, 1, range(7)))
    total = torch.zeros(())
    for share in (range(0, 3), range(3, 7)):
        part = DigitBatch(*(field[share.start : share.stop] for field in batch))
        total += objective(ToyNet(), part, CounterRandom(0, 1, share))[0] * len(share) / 7
    assert_close(total, whole)


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weight_is_the_published_one(kind: PredictionType, floor: float) -> None:
    snr = np.array([1e-8, 0.3, 4.9, 5.0, 5.1, 4000.0])
    published = np.clip(snr, floor, 5.0) / (snr if kind == "epsilon" else snr + 1)
    assert_close(min_snr_weight(torch.tensor(snr), 5.0, kind, floor).numpy(), published)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("mode", ["uniform", "importance"])
def test_both_ways_of_drawing_timesteps_have_the_exact_expected_loss(
    mode: str, kind: PredictionType
) -> None:
    total, n = 40, 20_000
    schedule = cosine_schedule(total)
    objective = LabelledObjective(
        schedule,
        kind,
        label_dropout=0.0,
        min_snr_gamma=5.0,
        timesteps=mode,  # type: ignore[arg-type]
    )
    one = some_batch(1)
    batch = DigitBatch(*(field.expand(n, *field.shape[1:]) for field in one))
    loss, _ = objective(ToyNet(), batch, EvenRandom(0, 0, range(n)))

    x0 = one.images.double() / 127.5 - 1
    noise = CounterRandom(0, 0, [0]).normal(Stream.NOISE, 3, 4, 4).double()
    exact = 0.0
    for t in range(total):
        alpha_bar = schedule.alphas_cumprod[t]
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        output = torch.sin(a * x0 + s * noise + 0.1 * t + one.digit - 3 * one.domain)
        target = noise if kind == "epsilon" else a * noise - s * x0
        snr = alpha_bar / (1 - alpha_bar)
        weight = min(snr, 5.0) / (snr if kind == "epsilon" else snr + 1)
        exact += float(weight * (output - target).square().mean()) / total
    assert_close(float(loss), exact, rtol=1e-3, atol=0)


def test_importance_draws_timesteps_by_their_weight() -> None:
    n = 30_000
    objective = LabelledObjective(
        cosine_schedule(40), "v_prediction", min_snr_gamma=5.0, timesteps="importance"
    )
    t, factors = objective.draw_timesteps(EvenRandom(0, 0, range(n)))
    expected = objective.weights / objective.weights.sum() * n
    counts = torch.bincount(t, minlength=40)
    # Intervals of evenly spread numbers: each count is right to one at either end.
    assert float((counts - expected).abs().max()) < 2
    assert_close(factors, objective.weights.mean().expand(n))
    drawn, _ = objective.draw_timesteps(CounterRandom(0, 0, range(n)))
    spread = (expected * (1 - expected / n)).sqrt()
    assert float(((torch.bincount(drawn, minlength=40) - expected).abs() / spread).max()) < 4.5


def test_uniform_timesteps_cover_the_schedule() -> None:
    objective = LabelledObjective(linear_schedule(10))
    t, factors = objective.draw_timesteps(EvenRandom(0, 0, range(1000)))
    assert torch.bincount(t).tolist() == [100] * 10
    assert torch.equal(factors, torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("drop", ["joint", "digit", "separate"])
def test_labels_are_dropped_at_the_rate_told(drop: str, p: float) -> None:
    n = 10_000
    objective = LabelledObjective(
        linear_schedule(10),
        label_dropout=p,
        drop=drop,  # type: ignore[arg-type]
    )
    batch = DigitBatch(
        torch.zeros(n, 3, 1, 1, dtype=torch.uint8),
        torch.full((n,), 4),
        torch.ones(n, dtype=torch.int64),
    )
    digit, domain = objective.conditions(batch, EvenRandom(0, 0, range(n)))
    assert set(digit.tolist()) <= {4, 10} and set(domain.tolist()) <= {1, 2}
    both = {
        pair: int(((digit == (10 if pair[0] else 4)) & (domain == (2 if pair[1] else 1))).sum())
        for pair in itertools.product((False, True), repeat=2)
    }
    shares = {  # of (digit dropped, domain dropped)
        "joint": {(True, True): p, (False, False): 1 - p},
        "digit": {(True, False): p, (False, False): 1 - p},
        "separate": {
            (True, True): p * p,
            (True, False): p * (1 - p),
            (False, True): (1 - p) * p,
            (False, False): (1 - p) ** 2,
        },
    }[drop]
    for pair, count in both.items():
        assert abs(count - n * shares.get(pair, 0.0)) <= 1, pair


def test_dropped_labels_of_real_draws_stay_within_bounds() -> None:
    n, p = 10_000, 0.1
    objective = LabelledObjective(linear_schedule(10), label_dropout=p)
    batch = DigitBatch(
        torch.zeros(n, 3, 1, 1, dtype=torch.uint8),
        torch.zeros(n, dtype=torch.int64),
        torch.zeros(n, dtype=torch.int64),
    )
    digit, domain = objective.conditions(batch, CounterRandom(0, 1, range(n)))
    assert torch.equal(digit == 10, domain == 2)
    assert abs(int((digit == 10).sum()) - n * p) < 4 * (n * p * (1 - p)) ** 0.5


def test_extreme_pixels_become_minus_one_and_one() -> None:
    seen = []

    class Spy(ToyNet):
        def forward(self, xt: Tensor, t: Tensor, digit: Tensor, domain: Tensor) -> Tensor:
            seen.append(xt)
            return super().forward(xt, t, digit, domain)

    class Silent(EvenRandom):
        def normal(self, stream: Stream, *shape: int) -> Tensor:
            return torch.zeros(len(self.samples), *shape)

    schedule = linear_schedule(1)
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    labels = torch.zeros(2, dtype=torch.int64)
    LabelledObjective(schedule)(Spy(), DigitBatch(images, labels, labels), Silent(0, 0, range(2)))
    a = float(schedule.alphas_cumprod[0].sqrt())
    assert_close(seen[0][:, 0, 0, 0], torch.tensor([-a, a]))
