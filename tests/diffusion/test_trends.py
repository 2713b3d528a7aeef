"""The nine trends that a sweep must reproduce, proven where every answer is known.

The data are a Gaussian, or a mixture of three (mixture.py): noise prediction, judge and Frechet
distance are exact, so that guidance and samplers alone are under test.
"""

from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise

import diffusers.schedulers.scheduling_ddpm as diffusers_ddpm
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.testing import assert_close

from hw2.diffusion.guidance import guide
from hw2.diffusion.interpolation import lerp, slerp
from hw2.diffusion.samplers import timesteps
from hw2.diffusion.schedule import NoiseSchedule, cosine_schedule, linear_schedule, make_schedule
from hw2.metrics.diversity import pairwise_distance
from tests.diffusion.mixture import Mixture, noises, trajectory
from tests.diffusion.toy import GaussianData, in_float64, noise_at, smooth_denoiser

SCHEDULE = cosine_schedule(1000)
EXACT = Mixture(SCHEDULE)
DIGIT = torch.arange(3).repeat_interleave(1000)
NULL = torch.full_like(DIGIT, 3)
FRESH = noises(3000)
guided = cache(partial(EXACT.draw, DIGIT))  # by w
WS, ETAS = (0.0, 0.5, 1.0, 2.0, 4.0), (0.0, 0.25, 0.5, 0.75, 1.0)
MEAN, STD = 0.2, 0.5
KINDS = pytest.mark.parametrize("kind", ["linear", "cosine"])


def accuracy(x: Tensor) -> float:
    return float((EXACT.judged(x) == DIGIT).double().mean())


def rises(values: Sequence[float], by: float = 0.0) -> bool:
    """Whether each value is more than `by` above the one before."""
    return all(after - before > by for before, after in pairwise(values))


def gaussian_end(schedule: NoiseSchedule, count: int, eta: float | None) -> np.ndarray:
    """(k, m, v): data N(MEAN, STD^2) end at k start + m + sqrt(v) z, z standard normal.

    The exact noise prediction makes the sampler affine in its start and each fresh noise, so that
    runs from 0, from 1, and from 0 with a single fresh noise of 1 tell all.
    """
    row = torch.arange(count + 2).view(-1, 1, 1, 1)
    nth = {t: 2 + i for i, t in enumerate(timesteps(schedule.num_train_timesteps, count))}
    denoise, start = GaussianData(schedule, MEAN, STD), (row == 1).double()
    *_, last = trajectory(denoise, schedule, start, lambda t: (row == nth[t]).double(), count, eta)
    m, one, *others = last.flatten().numpy()
    return np.array([one - m, m, np.square(others - m).sum()])


def recursion(schedule: NoiseSchedule, count: int, eta: float | None) -> np.ndarray:
    """The same in NumPy: Song et al. 2021, eq. 7, where E[x0 | xt] is affine in xt."""
    alpha_bar = np.append(np.cumprod(1 - schedule.betas.numpy()), 1.0)  # at -1 it is clean
    k, m, v = 1.0, 0.0, 0.0
    for t, t_prev in pairwise([*timesteps(schedule.num_train_timesteps, count), -1]):
        now, prev = alpha_bar[t], alpha_bar[t_prev]
        beta = 1 - now / prev
        sigma2 = (1 if eta is None else eta**2) * (1 - prev) / (1 - now) * beta
        to_xt = np.sqrt((1 - prev - sigma2) / (1 - now))
        to_x0 = np.sqrt(prev) - to_xt * np.sqrt(now)
        shrink = np.sqrt(now) * STD**2 / (now * STD**2 + 1 - now)
        slope, added = to_xt + to_x0 * shrink, beta * (t_prev >= 0) if eta is None else sigma2
        m = slope * m + to_x0 * (1 - shrink * np.sqrt(now)) * MEAN
        k, v = slope * k, slope**2 * v + added
    return np.array([k, m, v])


def gaussian_frechet(schedule: NoiseSchedule, count: int, eta: float) -> float:
    k, m, v = gaussian_end(schedule, count, eta)
    return (m - MEAN) ** 2 + ((k**2 + v) ** 0.5 - STD) ** 2


@pytest.mark.parametrize("t", [0, 400, 999])
def test_the_mixtures_noise_prediction_is_minus_s_times_the_score(t: int) -> None:
    """What all else here rests on, by autograd of torch.distributions' log density."""
    alpha_bar, xt = SCHEDULE.alphas_cumprod[t], FRESH(-1).requires_grad_()
    cov = alpha_bar * EXACT.cov + (1 - alpha_bar) * torch.eye(2)
    parts = MultivariateNormal(alpha_bar.sqrt() * EXACT.mean, cov)
    whole = MixtureSameFamily(Categorical(torch.ones(3).double()), parts)
    per_class = parts.log_prob(xt.view(-1, 1, 2)).unbind(1)
    for c, log in enumerate([*per_class, whole.log_prob(xt.view(-1, 2))]):
        (score,) = torch.autograd.grad(log.sum(), xt, retain_graph=True)
        label = torch.full_like(DIGIT, c)
        eps = EXACT(xt.detach(), torch.full_like(DIGIT, t), label, NULL)
        assert_close(eps, -(1 - alpha_bar).sqrt() * score, rtol=1e-9, atol=1e-9)


def test_1_accuracy_does_not_fall_as_w_grows() -> None:
    """Trend 1: judged accuracy does not fall as w grows, up to saturation."""
    scores = [accuracy(guided(w)) for w in WS]
    assert rises(scores, by=-1e-3) and scores[0] < scores[3] - 0.15, scores
    # Unguided points are data: a judge is as often right on them, but for 50 steps' narrowing.
    assert abs(scores[0] - accuracy(EXACT.exact_draw(DIGIT))) < 0.05, scores


@pytest.mark.parametrize(("fault", "best"), [({}, 0), ({"leak": 0.2}, 0.25), ({"blur": 0.3}, 0.1)])
def test_2_frechet_distance_is_u_shaped_in_w(fault: dict[str, float], best: float) -> None:
    """Trend 2: FID is U-shaped in w with its minimum at a small w.

    The exact score's minimum is w = 0. One whose classes leak into each other or are too wide is
    repaired by a little guidance; a leak k exactly by (1 + w)(1 - k) = 1, so w = 1/4 for 1/5.
    """
    model, ws = Mixture(SCHEDULE, **fault), (-0.2, 0.0, 0.1, 0.25, 0.5, 4.0)
    found = [model.frechet(model.draw(DIGIT, w), DIGIT) for w in ws]
    lowest = ws.index(best)
    assert rises(found[lowest::-1]) and rises(found[lowest:]), found
    assert found[-1] > 4 * found[lowest], found


def test_3_within_class_spread_falls_as_w_grows() -> None:
    """Trend 3: diversity inside a class falls as w grows."""
    for c in range(3):
        spread = [pairwise_distance(guided(w)[c == DIGIT].flatten(1)).value for w in WS]
        assert rises(spread[::-1], by=0.03), spread


@pytest.mark.parametrize(("w", "label"), [(0.0, DIGIT), (-1.0, NULL)])
def test_4_w_0_is_conditional_and_w_minus_1_unconditional(w: float, label: Tensor) -> None:
    """Trend 4, bit for bit through whole trajectories, by `guide` and by `GuidedDenoiser`."""

    def eps(xt: Tensor, t: int, label: Tensor = label) -> Tensor:
        return EXACT(xt, torch.full_like(label, t), label, label)

    def formula(xt: Tensor, t: int) -> Tensor:
        return guide(eps(xt, t, DIGIT), eps(xt, t, NULL), w)

    alone, *others = (
        torch.stack(trajectory(denoise, SCHEDULE, FRESH(-1), FRESH, 20, eta=0.5))
        for denoise in (eps, formula, EXACT.denoiser(DIGIT, w))
    )
    assert all(torch.equal(alone, other) for other in others)
    # Without labels a third of all points falls on the class that was asked for; with, as in data.
    assert abs(accuracy(alone[-1]) - {0.0: 0.77, -1.0: 1 / 3}[w]) < 0.04


def test_5_eta_0_repeats_bit_for_bit_whatever_the_fresh_noise() -> None:
    """Trend 5; also where fresh noise is nan, which multiplied by 0 would still be nan."""
    run = partial(trajectory, EXACT.denoiser(DIGIT, 2.0), SCHEDULE, FRESH(-1))
    others = noises(3000, 1), noises(3000, 2), lambda t: torch.nan * FRESH(t)
    first, *again = (torch.stack(run(fresh, 20, eta=0.0)) for fresh in (FRESH, *others))
    assert first.isfinite().all() and all(torch.equal(first, other) for other in again)
    assert not torch.equal(run(FRESH, 20, eta=0.1)[-1], run(others[0], 20, eta=0.1)[-1])


def test_6_distance_from_the_eta_0_end_grows_with_eta() -> None:
    """Trend 6, same start and same fresh noise, for the guided mixture."""
    ends = [EXACT.draw(DIGIT, 1.0, 20, eta) for eta in ETAS]
    apart = [float((x - ends[0]).flatten(1).norm(dim=1).mean()) for x in ends]
    assert apart[0] == 0 and rises(apart, by=0.01), apart


@KINDS
def test_6_a_gaussians_ends_have_exactly_the_predicted_mean_and_spread(kind: str) -> None:
    """Trend 6 in closed form: the mean square distance from the eta=0 end of the same start."""
    schedule = make_schedule(kind, 1000)
    for count in (2, 10, 50):
        ends = [gaussian_end(schedule, count, eta) for eta in ETAS]
        assert_close(ends, [recursion(schedule, count, eta) for eta in ETAS], rtol=1e-9, atol=1e-9)
        k0, m0, _ = ends[0]
        apart = [(k - k0) ** 2 + (m - m0) ** 2 + v for k, m, v in ends]
        assert apart[0] == 0 and rises(apart), apart


@KINDS
def test_7_frechet_distance_rises_with_eta_and_falls_with_steps_for_a_gaussian(kind: str) -> None:
    """Trend 7, exact: an update takes E[x0 | xt] for x0, which narrows the end.

    At eta = 1 every step loses the variance of x0 given xt, at eta = 0 it is Euler's error of the
    ODE. Both are of first order in the step's length; the former is about twice as large.
    """
    schedule, counts = make_schedule(kind, 1000), (5, 10, 20, 50, 100, 200)
    found = np.array([[gaussian_frechet(schedule, n, eta) for eta in ETAS] for n in counts])
    assert (np.diff(found, axis=1) > 0).all() and (np.diff(found, axis=0) < 0).all(), found
    assert found[3, -1] > 3 * found[3, 0], found


def test_7_frechet_distance_rises_with_eta_and_falls_with_steps_for_the_mixture() -> None:
    """Trend 7 by samples, up to 50 steps, where discretisation is the larger error."""
    digit = DIGIT.repeat(4)
    draws = [[EXACT.draw(digit, 0.0, n, eta) for eta in (0.0, 0.75, 1.0)] for n in (10, 20, 50)]
    found = np.array([[EXACT.frechet(x, digit) for x in row] for row in draws])
    assert (np.diff(found, axis=1) > 0).all() and (np.diff(found, axis=0) < 0).all(), found


def test_7_does_not_hold_where_another_error_is_larger() -> None:
    """The limits of trend 7, so that nobody takes it for a law.

    Fresh noise forgets that the start was not quite noise (T = 100 leaves alphas_cumprod 0.36),
    eta = 0 does not; and what too wide a model adds, narrowing takes away.
    """
    short = linear_schedule(100)
    assert gaussian_frechet(short, 100, 1.0) < 0.5 * gaussian_frechet(short, 100, 0.0)
    wide, counts_and_etas = Mixture(SCHEDULE, blur=0.3), ((20, 1.0), (20, 0.0), (100, 0.0))
    assert rises([wide.frechet(wide.draw(DIGIT, 0.0, *s), DIGIT) for s in counts_and_etas])


@KINDS
def test_8_eta_1_is_ancestral_ddpm(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trend 8, at all T steps: `ddpm`'s mean update, diffusers' trajectory with the same noise.

    DDIM's variance is then the posterior's (diffusers: fixed_small), where `ddpm`'s is beta_t.
    """
    schedule, denoise, xt = make_schedule(kind, 100), smooth_denoiser(), noise_at(-1)
    means = (trajectory(denoise, schedule, xt, lambda t: 0 * xt, 100, eta) for eta in (1.0, None))
    assert_close(*means, rtol=1e-7, atol=1e-7)
    theirs = in_float64(DDPMScheduler, schedule, variance_type="fixed_small", clip_sample=False)
    states = trajectory(denoise, schedule, xt, noise_at, 100, 1.0)
    for t, ours in zip(reversed(range(100)), states, strict=True):
        monkeypatch.setattr(diffusers_ddpm, "randn_tensor", lambda *a, t=t, **k: noise_at(t))
        xt = theirs.step(denoise(xt, t), t, xt).prev_sample
        assert_close(ours, xt, rtol=1e-7, atol=1e-7)


@KINDS
def test_8_the_two_variances_end_alike(kind: str) -> None:
    """Trend 8 in distribution, exact for a Gaussian.

    beta_t ends a little wide, the posterior's a little narrow (Ho et al. 2020, section 3.2).
    """
    schedule, variances = make_schedule(kind, 1000), []
    for eta in (1.0, None):
        k, m, v = gaussian_end(schedule, 1000, eta)
        assert_close(np.array([k, m, v]), recursion(schedule, 1000, eta), rtol=1e-9, atol=1e-9)
        variances.append((k**2 + v) / STD**2)
    assert rises([0.98, variances[0], 1.0, variances[1], 1.02]), variances


def test_9_half_way_lerp_has_0_707_of_the_norm_and_slerp_keeps_it() -> None:
    """Trend 9: exact for orthogonal noises of one norm, on average for independent ones."""
    a, b = torch.zeros(2, 3, 32, 32, dtype=torch.float64)
    a[0, 0], b[2, 31] = 2.0, -2.0
    for alpha in (0.0, 0.3, 0.5, 1.0):
        assert_close(lerp(a, b, alpha).norm(), a.norm() * ((1 - alpha) ** 2 + alpha**2) ** 0.5)
        assert_close(slerp(a, b, alpha).norm(), a.norm())
    pairs = torch.randn(100, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for mix, ratio in ((lerp, 0.5**0.5), (slerp, 1.0)):
        half_way = torch.stack([mix(a, b, 0.5).norm() for a, b in pairs]).mean()
        assert abs(float(half_way / 3072**0.5) - ratio) < 0.005
