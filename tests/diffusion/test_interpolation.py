"""Interpolation on the sphere and on the chord, against plane geometry in NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.interpolation import interpolants, lerp, slerp, smoothness
from hw2.errors import ConfigError

SHAPE = (3, 8, 8)
ALPHAS = np.linspace(0, 1, 11).tolist()
SEEDS = range(20)


def noises(seed: int) -> tuple[Tensor, Tensor]:
    first, second = CounterRandom(seed, 0, [0, 1]).normal(Stream.NOISE, *SHAPE)
    return first, second


def at_angle(seed: int, angle: float) -> tuple[Tensor, Tensor]:
    """Two vectors of one norm, `angle` apart, float64."""
    a, b = (noise.double() for noise in noises(seed))
    b = b - (a * b).sum() / (a * a).sum() * a
    return a, np.cos(angle) * a + np.sin(angle) * b * (a.norm() / b.norm())


def angle_between(a: Tensor, b: Tensor) -> float:
    x, y = a.double().numpy().ravel(), b.double().numpy().ravel()
    return float(np.arccos(np.clip(x @ y / np.linalg.norm(x) / np.linalg.norm(y), -1, 1)))


def test_ends_are_exact() -> None:
    for seed in SEEDS:
        a, b = noises(seed)
        for way in (slerp, lerp):
            assert torch.equal(way(a, b, 0.0), a) and torch.equal(way(a, b, 1.0), b)


def test_slerp_keeps_the_norm_and_turns_evenly() -> None:
    for seed in SEEDS:
        angle = 0.1 + 0.15 * seed  # up to 2.95
        a, b = at_angle(seed, angle)
        for alpha in ALPHAS:
            between = slerp(a, b, alpha)
            assert_close(between.norm(), a.norm(), rtol=1e-6, atol=0)
            assert_close(angle_between(a, between), alpha * angle, rtol=0, atol=1e-6)
            assert_close(angle_between(between, b), (1 - alpha) * angle, rtol=0, atol=1e-6)


def test_slerp_of_float32_is_worked_out_in_float64() -> None:
    for seed in SEEDS:
        a, b = noises(seed)
        theta = angle_between(a, b)
        for alpha in ALPHAS:
            first, second = np.sin([(1 - alpha) * theta, alpha * theta]) / np.sin(theta)
            expected = first * a.double().numpy() + second * b.double().numpy()
            found = slerp(a, b, alpha)
            assert found.dtype == torch.float32
            assert_close(found.numpy(), expected.astype(np.float32), rtol=2e-7, atol=1e-7)


def test_lerp_of_orthogonal_vectors_is_short_in_the_middle() -> None:
    for seed in SEEDS:
        a, b = at_angle(seed, np.pi / 2)
        assert_close(lerp(a, b, 0.5).norm(), a.norm() / 2**0.5)
        assert_close(lerp(a, b, 0.25), 0.75 * a + 0.25 * b)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 9e-7, 1.1e-6, 1e-4])
def test_nearly_the_same_direction(angle: float) -> None:
    """On both sides of the switch to lerp the two agree."""
    for seed in SEEDS:
        a, b = at_angle(seed, angle)
        for alpha in ALPHAS:
            assert_close(slerp(a, b, alpha), lerp(a, b, alpha), rtol=0, atol=1e-8)
    assert torch.equal(slerp(a, 2 * a, 0.5), 1.5 * a)


def test_no_direction_and_no_shortest_arc() -> None:
    a, b = noises(0)
    zero = torch.zeros(SHAPE)
    for pair, which in (((zero, b), "first"), ((a, zero), "second"), ((zero, zero), "first")):
        with pytest.raises(ConfigError, match=f"^slerp: the {which} noise has norm 0 .*choose"):
            slerp(*pair, 0.5)
    for opposite in (-a, -3 * a, -0.1 * a):
        with pytest.raises(ConfigError, match=r"^slerp: the noises are opposite \(180 degrees"):
            slerp(a, opposite, 0.5)
    x, y = at_angle(0, np.pi - 1e-4)
    assert_close(slerp(x, y, 0.5).norm(), x.norm())


def test_interpolants() -> None:
    a, b = noises(3)
    found = interpolants(a, b, 5)
    assert found.alphas.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.slerp.shape == found.lerp.shape == (5, *SHAPE)
    for i, alpha in enumerate(found.alphas.tolist()):
        assert torch.equal(found.slerp[i], slerp(a, b, alpha))
        assert torch.equal(found.lerp[i], lerp(a, b, alpha))
        for norms, rows in (
            (found.slerp_norms, found.slerp),
            (found.lerp_norms, found.lerp),
        ):
            expected = np.sqrt(np.square(rows[i].double().numpy()).sum())
            assert_close(float(norms[i]), float(expected), rtol=1e-12, atol=0)
    # Independent noises are nearly orthogonal, and the chord's middle shorter by nearly sqrt(2).
    assert float(found.lerp_norms[2] / found.slerp_norms[2]) == pytest.approx(2**-0.5, abs=0.05)


def test_smoothness_is_in_grey_levels() -> None:
    pictures = torch.full((4, 3, 5, 6), -1.0)
    pictures[1] = 1.0  # black to white: 255 everywhere
    pictures[2] = 1.0
    pictures[3] = 1.0
    pictures[3, 0] -= 2 * 12 / 255  # one channel of three moves by 12 levels
    assert_close(smoothness(pictures), torch.tensor([255, 0, 12 / 3**0.5]))
    assert smoothness(pictures[:1]).shape == (0,)
