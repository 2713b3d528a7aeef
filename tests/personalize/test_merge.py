"""The closed form against an independent KKT solve in NumPy, and what it promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hw2.errors import ConfigError
from hw2.personalize.merge import MergeResult, MergeSystem

EACH = settings(deadline=None, max_examples=25, derandomize=True)
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def merged(w0: Tensor, reg: Tensor, targets: Tensor, values: Tensor) -> MergeResult:
    """W of one matrix alone."""
    return MergeSystem(reg, targets).solve(w0, values)


@st.composite
def problems(draw: st.DrawFn, spanning: bool = True) -> Problem:
    """W0, regularisation features, independent targets and their values."""
    seed, width, out = (
        draw(st.integers(0, 10**6)),
        draw(st.integers(3, 12)),
        draw(st.integers(1, 8)),
    )
    n = draw(st.integers(width, 40)) if spanning else draw(st.integers(0, width - 1))
    m = draw(st.integers(1, width - 1))
    # Features of a text encoder: a common part, and directions of very different size.
    scales = torch.logspace(0, -draw(st.integers(0, 3)), width, dtype=torch.float64)
    reg = numbers(seed, n, width) * scales + numbers(seed + 1, width)
    return (
        numbers(seed + 2, out, width),
        reg,
        numbers(seed + 3, m, width) * scales + numbers(seed + 1, width),
        numbers(seed + 4, m, out),
    )


def kkt(w0: Tensor, reg: Tensor, targets: Tensor, values: Tensor) -> np.ndarray:
    """W by the whole system of the Lagrangian, one row of W at a time, least norm if singular."""
    a, c = (reg.T @ reg).numpy(), targets.numpy()
    m, width = c.shape
    system = np.block([[a, c.T], [c, np.zeros((m, m))]])
    right = np.concatenate([np.zeros((width, len(w0))), (values - targets @ w0.T).numpy()])
    return w0.numpy() + np.linalg.lstsq(system, right, rcond=None)[0][:width].T


def objective(weight: np.ndarray | Tensor, problem: Problem) -> float:
    change = torch.as_tensor(weight) - problem[0]
    return float((change @ problem[1].T).norm())


def miss(result: MergeResult, problem: Problem) -> float:
    _, _, targets, values = problem
    return float((result.weight @ targets.T - values.T).norm() / values.norm())


@EACH
@given(problems())
def test_equals_the_kkt_solution(problem: Problem) -> None:
    result = merged(*problem)
    theirs = kkt(*problem)
    assert result.residual < 1e-6 and miss(result, problem) < 1e-6 and result.unmet == ()
    assert result.rank == len(problem[2])
    assert abs(objective(result.weight, problem) / objective(theirs, problem) - 1) < 1e-8
    assert result.objective == pytest.approx(objective(result.weight, problem), rel=1e-9)
    w0, reg, _, _ = problem
    assert result.moved == pytest.approx(result.objective / float((w0 @ reg.T).norm()), rel=1e-6)


@EACH
@given(problems(spanning=False))
def test_singular_regularisation_gets_a_ridge(problem: Problem) -> None:
    result = merged(*problem)
    assert result.ridge > 0 and miss(result, problem) < 1e-6
    assert result.reg_condition < 1.01e7  # of what has a ridge
    best, size = objective(kkt(*problem), problem), float(problem[1].norm())
    # Where the targets can be met without moving the captions at all, the best is 0.
    moved = float((result.weight - problem[0]).norm())
    assert objective(result.weight, problem) <= best * (1 + 1e-8) + 1e-7 * size * moved


@EACH
@given(problems(), st.randoms(use_true_random=False))
def test_order_changes_no_bit(problem: Problem, random: st.DataObject) -> None:
    w0, reg, targets, values = problem
    # Some targets are there three times, with other values.
    targets = torch.cat([targets, targets[:2], targets[:2]])
    values = torch.cat([values, values[:2] + 1, values[:2] + 0.1])
    order = list(range(len(targets)))
    random.shuffle(order)
    one = merged(w0, reg, targets, values)
    other = merged(w0, reg, targets[order], values[order])
    assert torch.equal(one.weight, other.weight)
    assert {order[place] for place in other.unmet} == set(one.unmet)


@EACH
@given(problems())
def test_repeated_targets_that_agree_change_nothing(problem: Problem) -> None:
    w0, reg, targets, values = problem
    twice = (
        w0,
        reg,
        torch.cat([targets, targets, targets[:1]]),
        torch.cat([values, values, values[:1]]),
    )
    one, other = merged(*problem), merged(*twice)
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-7, atol=1e-9)
    assert other.rank == one.rank == len(targets) and other.unmet == ()


@EACH
@given(problems(), st.floats(-3, 3))
def test_dependent_targets_that_agree_change_nothing(problem: Problem, share: float) -> None:
    w0, reg, targets, values = problem
    more = targets[:1] + share * targets[-1:]
    result = merged(
        w0, reg, torch.cat([targets, more]), torch.cat([values, values[:1] + share * values[-1:]])
    )
    assert result.rank == len(targets) and result.residual < 1e-6
    torch.testing.assert_close(result.weight, merged(*problem).weight, rtol=1e-6, atol=1e-8)


@EACH
@given(problems())
def test_conflicts_are_met_half_way_and_told(problem: Problem) -> None:
    w0, reg, targets, values = problem
    result = merged(w0, reg, torch.cat([targets, targets[:1]]), torch.cat([values, values[:1] + 2]))
    assert set(result.unmet) == {0, len(targets)} and result.rank == len(targets)
    # Not the first, not the last: the mean of both.
    mean = torch.cat([values[:1] + 1, values[1:]])
    torch.testing.assert_close(result.weight @ targets.T, mean.T, rtol=1e-6, atol=1e-7)
    assert len(result.misses) == 2 and min(result.misses) > 1e-3
    assert result.to_json()["unmet"] == list(result.unmet)


def test_a_target_counts_as_often_as_it_is_there() -> None:
    w0, reg, (target,), (a, b) = (
        numbers(0, 4, 6),
        numbers(1, 9, 6),
        numbers(2, 1, 6),
        numbers(3, 2, 4),
    )
    targets, values = torch.stack([target, target, 2 * target]), torch.stack([a, a, 2 * b])
    # The least of 2 |x - a|^2 + |2 x - 2 b|^2.
    torch.testing.assert_close(merged(w0, reg, targets, values).weight @ target, (a + 2 * b) / 3)


def test_misses_are_shares_of_a_target_s_size() -> None:
    w0, reg, targets, values = (
        1e-3 * numbers(0, 4, 6),
        numbers(1, 9, 6),
        numbers(2, 2, 6),
        1e-3 * numbers(3, 2, 4),
    )
    other = 1.002 * values[0]
    result = merged(w0, reg, targets[[0, 1, 0]], torch.stack([*values, other]))
    before = float((w0 @ targets[0]).norm())
    sizes = [max(float(value.norm()), before) for value in (values[0], other)]
    misses = [0.001 * float(values[0].norm()) / size for size in sizes]
    assert result.unmet == (0, 2) and result.misses == pytest.approx(misses)
    assert result.residual == pytest.approx(max(misses))


@EACH
@given(problems())
def test_conditions_are_those_of_the_features(problem: Problem) -> None:
    _, reg, targets, _ = problem
    result = merged(*problem)
    assert result.reg_condition == pytest.approx(np.linalg.cond(reg.numpy()), rel=1e-6)
    assert result.target_condition == pytest.approx(np.linalg.cond(targets.numpy()), rel=1e-6)


@EACH
@given(problems())
def test_values_that_hold_already_move_nothing(problem: Problem) -> None:
    w0, reg, targets, _ = problem
    result = merged(w0, reg, targets, targets @ w0.T)
    torch.testing.assert_close(result.weight, w0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_any_number_of_concepts_in_float32(count: int) -> None:
    width, out = 96, 40
    w0, reg = numbers(0, out, width).float(), numbers(1, 500, width).float()
    targets = numbers(2, 5 * count, width).float()
    own = [w0 + 0.1 * numbers(3 + place, out, width).float() for place in range(count)]
    parts = zip(targets.chunk(count), own, strict=True)
    values = torch.cat([part @ weight.T for part, weight in parts])
    result = merged(w0, reg, targets, values)
    assert result.weight.dtype == torch.float32 and result.residual < 1e-6
    assert result.residual < result.rounded_residual < 1e-5
    # One concept's own matrix meets its targets too; the merged one moves the captions less.
    assert result.objective < float(((own[0] - w0) @ reg.T).norm()) or count > 1


def test_rounding_is_told_and_is_no_conflict() -> None:
    w0, reg = numbers(0, 40, 96).float(), numbers(1, 500, 96).float()
    targets = numbers(2, 2, 96).float()
    targets[1] = targets[0] + 1e-4 * targets[1]  # nearly the same, with other values: W is large
    result = merged(w0, reg, targets, numbers(3, 2, 40).float())
    assert result.rounded_residual > 1e-6 > result.residual
    assert result.unmet == ()
    # Nor is that of the values, where they come from float32 weights.
    values = numbers(3, 3, 40)
    values[2] = values[1] * (1 + 4e-5)
    result = merged(w0, reg, torch.stack([targets[0], numbers(5, 96), numbers(5, 96)]), values)
    assert 1e-6 < result.residual < 1e-5 and result.unmet == ()


def small_problem() -> list[Tensor]:
    """A matrix, features to keep, targets and their values."""
    return [numbers(0, 4, 6), numbers(1, 9, 6), numbers(2, 2, 6), numbers(3, 2, 4)]


def test_no_change_is_made_of_rounding() -> None:
    """Features behind a plain layer norm add up to 0, but for rounding."""
    width = 12
    ones = torch.full((width,), width**-0.5, dtype=torch.float64)

    def centred(seed: int, rows: int) -> Tensor:
        found = numbers(seed, rows, width)
        return found - found @ ones[:, None] * ones

    w0, values = numbers(0, 5, width), numbers(1, 3, 5)
    plain = merged(w0, centred(2, 30), centred(3, 3), values)
    assert plain.ridge > 0 and plain.residual < 1e-12
    for seed in (4, 5):
        reg, targets = (
            rows + 1e-9 * numbers(seed, len(rows), 1) * ones
            for rows in (centred(2, 30), centred(3, 3))
        )
        found = merged(w0, reg, targets, values)
        assert found.residual < 1e-7 and found.unmet == ()
        torch.testing.assert_close(found.weight, plain.weight, rtol=0, atol=1e-6)
        assert ((found.weight - w0) @ ones).norm() < 1e-6


def test_nothing_to_merge_and_nothing_to_keep() -> None:
    w0, reg, targets, values = small_problem()
    assert torch.equal(merged(w0, reg, targets[:0], values[:0]).weight, w0)
    # Without captions: the smallest change of W itself.
    free = merged(w0, reg[:0], targets, values).weight
    least = (
        w0.numpy() + np.linalg.lstsq(targets.numpy(), (values - targets @ w0.T).numpy(), None)[0].T
    )
    torch.testing.assert_close(free, torch.from_numpy(least))


def test_a_target_of_nothing_cannot_be_met() -> None:
    w0, reg, targets, values = small_problem()
    targets[0] = 0
    result = merged(w0, reg, targets, values)
    assert result.unmet == (0,) and result.misses[0] == pytest.approx(1) and result.rank == 1


def test_the_shared_part_is_factorised_once() -> None:
    reg, targets = numbers(1, 30, 8), numbers(2, 3, 8)
    system = MergeSystem(reg, targets)
    for seed, out in ((3, 4), (4, 7)):
        w0, values = numbers(seed, out, 8), numbers(seed + 9, 3, out)
        alone = merged(w0, reg, targets, values)
        assert torch.equal(system.solve(w0, values).weight, alone.weight)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (0, numbers(0, 4, 5), "want .out, 6. and .2, out."),
        (1, numbers(0, 9, 7), "reg_features are 7 wide, target_features 6"),
        (1, torch.full((9, 6), float("nan")), "reg_features holds nan"),
        (2, torch.full((2, 6), float("inf")), "target_features holds nan or infinite"),
        (3, numbers(0, 3, 4), r"target_values \(3, 4\): want"),
    ],
)
def test_bad_input(place: int, value: Tensor, told: str) -> None:
    problem = small_problem()
    problem[place] = value
    with pytest.raises(ConfigError, match=told):
        merged(*problem)
