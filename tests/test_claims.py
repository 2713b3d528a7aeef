import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hw2.claims import is_finite, refuse_infinite, refuse_larger, refuse_misfits
from hw2.errors import CheckpointError, ConfigError


def test_weights_without_numbers_hold_no_infinite_ones() -> None:
    refuse_infinite("x", {"w": torch.empty(3, device="meta")})
    with pytest.raises(CheckpointError, match=r"^x: b holds nan or infinite numbers"):
        refuse_infinite("x", {"a": torch.ones(2), "b": torch.tensor([1.0, torch.inf])})


class Largest(TorchDispatchMode):
    """Keeps the most numbers that an operation of torch gave back."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.numbers = max(self.numbers, found.numel())
        return found


def test_weights_are_looked_through_without_a_copy_of_them() -> None:
    weights = {"w": torch.randn(1000), "half": torch.ones(1000, dtype=torch.bfloat16)}
    with Largest() as largest:
        refuse_infinite("x", weights)
    assert largest.numbers == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_numbers_whose_sum_is_too_large_for_their_type_are_finite(dtype: torch.dtype) -> None:
    most = torch.full((3,), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(most)
    for wrong in ([math.inf], [-math.inf], [math.nan], [math.inf, -math.inf]):
        assert not is_finite(torch.cat([most, torch.tensor(wrong, dtype=dtype)]))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_that_torch_does_not_add_are_looked_through(dtype: torch.dtype) -> None:
    assert is_finite(torch.ones(3).to(dtype))
    assert not is_finite(torch.tensor([1.0, math.nan]).to(dtype))


def test_whole_numbers_and_none_are_finite() -> None:
    assert is_finite(torch.arange(3))
    assert is_finite(torch.ones(0))


def test_a_network_has_at_most_five_numbers_a_byte_of_all_its_files(tmp_path: Path) -> None:
    weights = [tmp_path / "1", tmp_path / "2"]
    for path in weights:
        path.write_bytes(b"x" * 5)
    refuse_larger(weights, {}, lambda: nn.Linear(10, 5, bias=False))
    with pytest.raises(CheckpointError, match=r"1: its config .* of 51 numbers, and it has 10 by"):
        refuse_larger(weights, {}, lambda: nn.Linear(17, 3, bias=False))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("channels=[] is empty"), "w: channels=[] is empty"),
        (KeyError("depth"), "w: its config describes no network (KeyError: 'depth')"),
    ],
)
def test_a_network_that_cannot_be_built_is_told_with_its_file(
    tmp_path: Path, error: Exception, said: str
) -> None:
    def build() -> nn.Module:
        raise error

    with pytest.raises(CheckpointError) as refused:
        refuse_larger([tmp_path / "w"], {}, build)
    assert str(refused.value) == f"{tmp_path}/{said}"


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"layers": 1001}, "layers=1001"),
        ({"parts": [{"num_layers": 1001}]}, "num_layers=1001"),
        ({"channels": [1] * 1001}, "layers=1001"),
        ({"channels": [8, 2**17 + 1]}, "channels=131073"),
        ({"side": -(2**17) - 1}, "side=131073"),
    ],
)
def test_numbers_that_would_build_for_ever_are_refused(
    tmp_path: Path, described: object, said: str
) -> None:
    (tmp_path / "w").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=f"its config claims {said}: no network has that"):
        refuse_larger([tmp_path / "w"], described, lambda: pytest.fail("built"))
    most = {"layers": 1000, "channels": [2**17], "side": -(2**17)}
    refuse_larger([tmp_path / "w"], most, lambda: nn.Linear(1, 1))


def test_weights_that_do_not_fit_are_counted_and_five_are_named() -> None:
    found = {"a": (1,), "b": (2, 3), **{f"x{n}": (1,) for n in range(4)}}
    with pytest.raises(CheckpointError) as refused:
        refuse_misfits("p", found, {"a": (1,), "b": (3, 2), "c": (4,)})
    assert str(refused.value) == (
        "p: 6 weights do not fit: missing c; unknown x0; unknown x1; unknown x2; unknown x3"
    )
    with pytest.raises(
        CheckpointError, match=r"^p: 1 weights do not fit: b is \(2,\), want \(3,\)$"
    ):
        refuse_misfits("p", {"b": (2,)}, {"b": (3,)})
