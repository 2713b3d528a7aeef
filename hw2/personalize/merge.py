"""Merging fine-tuned matrices in closed form (Kumari et al. 2023, arXiv 2212.04488, eq. 4)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.errors import ConfigError

# Singular values below this share of the largest are noise: features come from float32 networks.
NOISE = 1e-7
# A target is unmet if it misses its value by more than this share of it. Values that come from
# float32 weights, as those of a merge itself, disagree by some 1e-6 without a conflict.
UNMET = 1e-5


@dataclass(frozen=True)
class MergeResult:
    """A merged matrix, and how well it is what was asked.

    `weight` (out, in) has the type of the matrix before. `residual` is the largest relative miss of
    a target by the solution in float64, `rounded_residual` that by `weight` as it is returned
    (float32 costs 1e-7 to 1e-6, more where a row is long and its value short). `objective` is the
    Frobenius norm |(W - W0) C_reg^T|, `moved` its share of |W0 C_reg^T|, `rank` the number of
    independent targets. `reg_condition` and `target_condition` are ratios of singular values: of
    the regularisation features with the ridge, and of the targets' independent part. `ridge` was
    added to C_reg^T C_reg, 0 where the features span the space. `unmet` has the
    targets, in the order given, that conflict with others, with their relative misses in `misses`;
    rounding makes no conflict.
    """

    weight: Float[Tensor, "out in"]
    residual: float
    rounded_residual: float
    objective: float
    moved: float
    rank: int
    ridge: float
    reg_condition: float
    target_condition: float
    unmet: tuple[int, ...]
    misses: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """All but the weight."""
        found = {name: value for name, value in vars(self).items() if name != "weight"}
        return {**found, "unmet": list(self.unmet), "misses": list(self.misses)}


class MergeSystem:
    """The part of the closed form that all matrices of a model share.

    W = argmin |(W - W0) C_reg^T|_F subject to W C^T = V (eq. 4 there): the W nearest to W0 on the
    regularisation features `reg_features` C_reg (n, in), which are to keep their images, that gives
    the `target_features` C (m, in) theirs, V^T (m, out).

    In float64 and by orthogonal factorisations alone. With C_reg = U S P^T the objective is
    |(W - W0) P S|_F; directions that C_reg does not reach (S below 1e-7 of its largest, n < in,
    n = 0) get a ridge of 1e-14 of the largest S^2, which moves the objective by less than 1e-8 and
    picks the smallest change among those that are as good. What a target has of such directions is
    left out where it is below 1e-7 of the target: it is rounding, as of features behind a plain
    layer norm, which add up to 0, and a change along it would cost nothing however large.

    The targets are first reduced to an orthonormal basis of the space that they span. Repeated and
    dependent rows that agree change nothing; rows that conflict are met in the least-squares sense,
    all alike, and reported. Equal rows are collected and sorted beforehand, so that the result does
    not depend on the order of the targets by a bit. No targets: W is W0.

    Raises ConfigError for shapes that do not fit and values that are not finite.
    """

    def __init__(
        self, reg_features: Float[Tensor, "_ _"], target_features: Float[Tensor, "_ _"]
    ) -> None:
        reg = _checked("reg_features", reg_features)
        self.targets = _checked("target_features", target_features)
        if reg.shape[1] != self.targets.shape[1]:
            raise ConfigError(
                f"reg_features are {reg.shape[1]} wide, target_features "
                f"{self.targets.shape[1]}: want features of one text encoder"
            )
        self._factorise_regularisation(reg)
        self._factorise_targets()

    def _factorise_regularisation(self, reg: Float[Tensor, "n in"]) -> None:
        width = reg.shape[1]
        # The eigenvectors of C_reg^T C_reg without forming it, which would square the condition.
        # The triangle has the singular values of the features and is never larger than width^2.
        triangle = torch.linalg.qr(reg, mode="r").R
        _, found, self.axes = torch.linalg.svd(triangle, full_matrices=True)
        scales = torch.zeros(width, dtype=torch.float64)
        scales[: len(found)] = found
        self.singular_values = scales
        largest = float(scales.max()) if len(reg) and float(scales.max()) > 0 else 1 / NOISE
        spans = float(scales.min()) > NOISE * largest
        self.ridge = 0.0 if spans else (NOISE * largest) ** 2
        self.reached = scales > NOISE * largest
        self.scales = (scales.square() + self.ridge).sqrt()
        self.reg_condition = float(self.scales.max() / self.scales.min())

    def _factorise_targets(self) -> None:
        distinct, self.group, count = self.targets.unique(
            dim=0, sorted=True, return_inverse=True, return_counts=True
        )
        self.distinct, self.count = distinct, count
        # A row that is there k times counts k times in the sum of squares.
        self.share = count.double().sqrt()[:, None]
        turned = distinct @ self.axes.T  # to P's columns
        beyond = turned[:, ~self.reached].norm(dim=1, keepdim=True)
        noise = beyond <= NOISE * distinct.norm(dim=1, keepdim=True)
        turned = turned.masked_fill(noise & ~self.reached, 0.0)
        left, scales, right = torch.linalg.svd(self.share * turned, full_matrices=False)
        largest = float(scales.max()) if scales.numel() else 0.0
        kept = scales > NOISE * largest
        self.rank = int(kept.sum())
        self.left, self.target_scales = left[:, kept], scales[kept]
        self.target_condition = largest / float(self.target_scales.min()) if self.rank else 1.0
        # X right^T = G in the whitened space: Y (right / S)^T = G, of least norm by QR.
        whitened = right[kept] / self.scales
        basis, self.triangle = torch.linalg.qr(whitened.T)
        along = basis.T / self.scales  # (rank, in), along P's columns: what a change is made of
        self.directions, self.costs = along @ self.axes, along * self.singular_values

    def solve(self, w0: Float[Tensor, "_ _"], target_values: Float[Tensor, "_ _"]) -> MergeResult:
        """The merged matrix for `w0` (out, in), whose targets take `target_values` (m, out)."""
        old, values = _checked("w0", w0), _checked("target_values", target_values)
        if old.shape[1] != self.targets.shape[1] or values.shape != (len(self.targets), len(old)):
            raise ConfigError(
                f"w0 {tuple(old.shape)}, target_values {tuple(values.shape)}: want (out, "
                f"{self.targets.shape[1]}) and ({len(self.targets)}, out)"
            )
        before = self.distinct @ old.T
        wanted = self._collected(values) - before
        # Least squares over the targets, in the coordinates of their orthonormal basis (rank, out).
        changes = (self.left.T @ (self.share * wanted)) / self.target_scales[:, None]
        whitened = torch.linalg.solve_triangular(self.triangle.T, changes, upper=False).T
        solution = old + whitened @ self.directions
        weight = solution.to(w0.dtype)
        misses = self._misses(solution, before[self.group], values)
        rounded = self._misses(weight.double(), before[self.group], values)
        unmet = [place for place, miss in enumerate(misses.tolist()) if miss > UNMET]
        objective = float((whitened @ self.costs).norm())  # |(W - W0) P S|_F
        before_it = float((old @ self.axes.T * self.singular_values).norm())
        return MergeResult(
            weight,
            residual=float(misses.max()) if len(misses) else 0.0,
            rounded_residual=float(rounded.max()) if len(rounded) else 0.0,
            objective=objective,
            moved=objective / before_it if before_it else 0.0,
            rank=self.rank,
            ridge=self.ridge,
            reg_condition=self.reg_condition,
            target_condition=self.target_condition,
            unmet=tuple(unmet),
            misses=tuple(float(misses[place]) for place in unmet),
        )

    def _collected(self, values: Float[Tensor, "m out"]) -> Float[Tensor, "k out"]:
        """The mean value of equal targets, added up in one order whatever theirs is."""
        rows = []
        for place, count in enumerate(self.count.tolist()):
            same = values[self.group == place]
            rows.append(same.sort(dim=0).values.sum(0) / count)
        return torch.stack(rows) if rows else values

    def _misses(
        self, weight: Float[Tensor, "out in"], before: Float[Tensor, "m out"], values: Tensor
    ) -> Float[Tensor, " m"]:
        after = self.targets @ weight.T
        size = torch.maximum(values.norm(dim=1), before.norm(dim=1)).clamp(min=1e-300)
        return (after - values).norm(dim=1) / size


def _checked(name: str, values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise ConfigError(f"{name} holds nan or infinite values")
    return values.detach().cpu().double()
