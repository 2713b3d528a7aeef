import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hw2.data.torch_files import load_torch, refuse_unusual, unwrapped
from hw2.errors import DataError


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.empty(10**9, device="meta"), "meta"),
        (lambda: torch.eye(3).to_sparse(), "sparse_coo"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8), "quantized"),
    ],
    ids=["meta", "sparse", "quantized"],
)
def test_what_is_no_plain_tensor_is_refused_by_its_kind(
    make: Callable[[], torch.Tensor], kind: str
) -> None:
    with pytest.raises(DataError, match=f"^it holds a tensor of kind {kind}: save a plain one$"):
        refuse_unusual([torch.ones(2), make()], 2**20)


def test_the_limit_is_on_all_tensors_together_as_they_unfold() -> None:
    one = torch.ones(1).expand(2**17)  # half a MiB of one number
    refuse_unusual([one, one], 2**20)
    with pytest.raises(DataError, match=r"^2 MiB is over the allowed 1 MiB$"):
        refuse_unusual([one, one, one], 2**20)


@pytest.mark.parametrize("name", ["none.pt", "a\0.pt", "x" * 300])
def test_a_file_of_any_name_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"^the file is missing$"):
        load_torch(tmp_path / name, 2**20)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), r"it cannot be read \(Input/output error\)"),
        (OSError(errno.EINVAL, os.strerror(errno.EINVAL)), "not a torch file, or a torn one"),
        (OSError("a place beyond the end"), "not a torch file, or a torn one"),
    ],
    ids=["a disk", "a place in a torn file", "no number"],
)
def test_whose_fault_it_is_that_a_file_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    torch.save(torch.ones(2), tmp_path / "a.pt")
    assert load_torch(tmp_path / "a.pt", 2**20).tolist() == [1, 1]

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(DataError, match=f"^{said}"):
        load_torch(tmp_path / "a.pt", 2**20)


def test_a_file_of_very_many_objects_is_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = torch.zeros(1)
    torch.save({str(place): one.view(1) for place in range(90_000)}, tmp_path / "a.pt")
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(DataError, match=r"^its list of .* has [67] MiB, over the allowed 4: save"):
        load_torch(tmp_path / "a.pt", 2**30)


def test_names_without_their_wrappers() -> None:
    network, parallel = nn.Linear(2, 1), nn.DataParallel
    compiled: Any = torch.compile
    for wrapped in (
        parallel(network),
        compiled(network),
        parallel(compiled(network)),
        compiled(parallel(network)),
    ):
        assert list(wrapped.state_dict()) != ["weight", "bias"]
        assert list(unwrapped(wrapped.state_dict())) == ["weight", "bias"]
    assert unwrapped({}) == {}
    half = {"module.weight": torch.zeros(1), "bias": torch.zeros(1)}
    assert unwrapped(half) == half
