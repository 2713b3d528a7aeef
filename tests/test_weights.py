"""Weights files: of this project, of this network, and readable, or refused in one line."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from hw2.errors import CheckpointError, StorageError
from hw2.weights import load_claimed, load_weights, read_meta, save_weights

META = {"seed": 1, "name": "test"}


def network(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def test_weights_round_trip(tmp_path: Path) -> None:
    path, net, ema = tmp_path / "final.safetensors", network(), network()
    with torch.no_grad():
        ema[0].weight.add_(1)
    save_weights(path, {"net": net, "ema": ema}, {"kind": "x", "list": [1, 2]})
    assert read_meta(path) == {"kind": "x", "list": [1, 2]}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    other = network()
    load_weights(path, other, "ema")
    assert torch.equal(other[0].weight, ema[0].weight)
    load_weights(path, other, "net")
    assert torch.equal(other[0].weight, net[0].weight)


def test_the_averaged_network_is_loaded_to_evaluate(tmp_path: Path) -> None:
    path, ema = tmp_path / "final.safetensors", network()
    with torch.no_grad():
        ema[0].weight.add_(1)
    save_weights(path, {"net": network(), "ema": ema}, META)
    found = load_claimed(path, read_meta(path), network)
    assert torch.equal(found[0].weight, ema[0].weight) and not found.training


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device.* make room"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system.* mend that"),
        (
            SafetensorError("Error while serializing: I/O error: full (os error 28)"),
            "No space left on device.* make room",
        ),
    ],
)
def test_a_file_that_the_disk_refuses_leaves_nothing_beside_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception, told: str
) -> None:
    def full(path: Path) -> None:
        raise refusal

    path = tmp_path / "final.safetensors"
    save_weights(path, {"net": network()}, META)
    before = path.read_bytes()
    monkeypatch.setattr("hw2.weights.sync", full)
    with pytest.raises(StorageError, match=told):
        save_weights(path, {"net": network(4)}, META)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == before


def refused(path: Path, module: nn.Module, prefix: str = "net") -> str:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_weights(path, module, prefix)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    save_weights(path, {"net": network()}, {})
    wider = refused(path, network(4))
    assert wider.startswith("3 weights do not fit: ") and "0.weight is (3, 2), want (4, 2)" in wider
    shallower = refused(path, nn.Sequential(nn.Linear(2, 3)))
    assert shallower == "2 weights do not fit: unknown 1.bias; unknown 1.weight"
    deeper = refused(path, nn.Sequential(*network(), nn.Linear(1, 1)))
    assert deeper == "2 weights do not fit: missing 2.weight; missing 2.bias"
    assert refused(path, network(), "ema").startswith("4 weights do not fit: missing 0.weight")
    many = refused(path, nn.Sequential(*(nn.Linear(2, 3) for _ in range(9))))
    assert many.startswith("16 weights do not fit: ") and many.count(";") == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    path, net = tmp_path / "final.safetensors", network()
    with torch.no_grad():
        net[1].weight[0, 2] = value
    save_weights(path, {"net": net}, {})
    assert refused(path, network()).startswith("1.weight holds nan or infinite numbers")


def test_files_that_hold_no_weights_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    assert refused(path, network()) == "no such file"
    assert refused(tmp_path, network()) == "no such file"
    save_weights(path, {"net": network()}, META)
    whole = path.read_bytes()
    for content in (b"", b"not safetensors at all", whole[:-5], whole[: len(whole) // 3]):
        path.write_bytes(content)
        assert refused(path, network()).startswith("not a readable safetensors file")
    save_file({"net.0.weight": torch.zeros(1)}, path)
    assert refused(path, network()).startswith("has no hw2 metadata")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_of_another_ending_is_told_which_are_read(
    zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "unet.ckpt"
    state = network().state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert refused(path, network()) == (
        "a torch file, want safetensors: torch files are read of face models and judges alone, "
        "if they end in .pt or .pth"
    )


def test_a_file_that_may_not_be_read_is_not_called_missing() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies in folders of its owner alone
        path, whose = Path(folder, "closed", "final.safetensors"), os.geteuid()
        path.parent.mkdir()
        save_weights(path, {"net": network()}, META)
        Path(folder).chmod(0o755)
        for closed in (path, path.parent):
            closed.chmod(0)
            if whose == 0:
                os.seteuid(65534)
            try:
                assert refused(path, network()).startswith("may not be read (Permission denied): ")
            finally:
                os.seteuid(whose)
                closed.chmod(0o700)
