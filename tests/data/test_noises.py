"""Given noises: what is read, and what is refused without being run or unpacked."""

import errno
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hw2.data.noises import read_noises
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import ConfigError, DataError


def noise(index: int, height: int = 32, width: int = 64) -> Tensor:
    return CounterRandom(0, 0, [index]).normal(Stream.START, 3, height, width)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in (2, 0, 1):
        torch.save(noise(index), tmp_path / f"{index:02d}.pt")
    (tmp_path / "readme.txt").write_text("not a noise")
    (tmp_path / "._00.pt").write_bytes(b"what macOS keeps of a file, in a zip")
    return tmp_path


def test_reads_in_the_order_of_names(folder: Path) -> None:
    found = read_noises(folder)
    assert found.names == ("00", "01", "02")
    assert torch.equal(found.noises, torch.cat([noise(i) for i in range(3)]))


def test_the_hash_is_of_names_and_numbers(folder: Path) -> None:
    first = read_noises(folder).content_hash
    torch.save(noise(1), folder / "01.pt", _use_new_zipfile_serialization=False)
    assert read_noises(folder).content_hash == first
    (folder / "02.pt").rename(folder / "03.pt")
    renamed = read_noises(folder).content_hash
    changed = noise(1)
    changed[0, 0, 0, 0] += 1e-6
    torch.save(changed, folder / "01.pt")
    assert len({first, renamed, read_noises(folder).content_hash}) == 3
    assert len(first) == 64 and int(first, 16)


def test_the_hash_is_of_sides(tmp_path: Path) -> None:
    hashes = set()
    for height, width in ((32, 64), (64, 32)):
        torch.save(noise(0).view(1, 3, height, width), tmp_path / "00.pt")
        hashes.add(read_noises(tmp_path).content_hash)
    assert len(hashes) == 2


def test_pick(folder: Path) -> None:
    found = read_noises(folder)
    assert found.pick(["02", "00", "02"]) == [2, 0, 2] and found.pick([]) == []
    with pytest.raises(ConfigError) as error:
        found.pick(["01", "7", "x"])
    assert str(error.value) == "noise 7, x: there is no such; there is 00, 01, 02"


def test_parameters_and_views_are_tensors(folder: Path) -> None:
    torch.save(torch.nn.Parameter(noise(1)), folder / "01.pt")
    torch.save(noise(5, 64, 32).transpose(2, 3), folder / "02.pt")
    found = read_noises(folder).noises
    assert torch.equal(found[1:2], noise(1)) and not found.requires_grad
    assert torch.equal(found[2:3], noise(5, 64, 32).transpose(2, 3))


def saved(value: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


def with_value(value: float) -> Tensor:
    broken = noise(1)
    broken[0, 1, 2, 3:5] = value
    return broken


def cut(path: Path) -> None:
    torch.save(noise(1), path)
    path.write_bytes(path.read_bytes()[:5000])


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(65 * 2**20)


def packed_bomb(path: Path) -> None:
    """70 MiB of zeros in a file of 70 kB."""
    torch.save(noise(1), path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data/1", bytes(70 * 2**20))
    assert path.stat().st_size < 2**20


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def sparse() -> Tensor:
    return noise(1).to_sparse()


BAD = {
    "a text": (lambda path: path.write_text("hello"), "not a torch file"),
    "empty": (nothing, "not a torch file"),
    "torn": (cut, "not a torch file"),
    "a plain pickle": (lambda path: path.write_bytes(pickle.dumps([1])), "not a torch file"),
    "a folder": (lambda path: path.mkdir(), "it is not a regular file"),
    "a pipe": (os.mkfifo, "it is not a regular file"),
    "a lost link": (lambda path: path.symlink_to("nowhere"), "the file is missing"),
    "too large": (too_large, "65 MiB is over the allowed 64 MiB"),
    "a zip bomb": (packed_bomb, "70 MiB is over the allowed 64 MiB"),
    "one number, repeated": (
        saved(torch.zeros(1).expand(1, 3, 2**14, 2**14)),
        "3072 MiB is over the allowed 64 MiB",
    ),
    "a dict": (saved({"noise": noise(1)}), "it holds dict, want a tensor"),
    "an array": (saved(noise(1).numpy()), "it holds numpy._core.multiarray._reconstruct, want"),
    "without data": (saved(noise(1).to("meta")), "it holds a tensor of kind meta"),
    "sparse": (lambda path: torch.save(sparse(), path), "it holds a tensor of kind sparse_coo"),
    "float64": (saved(noise(1).double()), "its dtype is float64, want float32: save noise.float()"),
    "integers": (saved(noise(1).long()), "its dtype is int64, want float32"),
    "no batch": (
        saved(noise(1)[0]),
        "(3, 32, 64), want (1, 3, h, w): save noise[None]",
    ),
    "two": (
        saved(noise(1).repeat(2, 1, 1, 1)),
        "its shape is (2, 3, 32, 64), want (1, 3, h, w): save each noise[i:i+1] in a file of its",
    ),
    "grey": (saved(noise(1)[:, :1]), "its shape is (1, 1, 32, 64), want"),
    "odd sides": (
        saved(noise(1)[..., :40]),
        "its shape is (1, 3, 32, 40): want sides that are mul",
    ),
    "no pixels": (saved(noise(1)[..., :0]), "its shape is (1, 3, 32, 0): want sides that are mul"),
    "nan": (saved(with_value(float("nan"))), "2 of its 6144 numbers are nan or infinite"),
    "infinite": (saved(with_value(float("-inf"))), "2 of its 6144 numbers are nan or infinite"),
    "another size": (saved(noise(1, 64, 64)), "is 64x64, 00.pt is 64x32: want one size"),
}


@pytest.mark.parametrize("kind", BAD)
def test_refusals_name_the_file_and_what_was_found(folder: Path, kind: str) -> None:
    make, message = BAD[kind]
    (folder / "01.pt").unlink()
    make(folder / "01.pt")
    with pytest.raises(DataError) as error:
        read_noises(folder)
    said = str(error.value)
    assert said.startswith(str(folder / "01.pt")) and message in said and "\n" not in said


def test_no_folder_and_no_noises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"noise: no such .* --noise at .*jobs\.prepare_data"):
        read_noises(tmp_path / "noise")
    with pytest.raises(DataError, match=r"holds no noises: want 00\.pt, 01\.pt"):
        read_noises(tmp_path)


def test_a_file_that_the_disk_or_memory_fails_is_not_called_torn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure: Exception = OSError(errno.EIO, "Input/output error")

    def load(*arguments: Any, **options: Any) -> Any:
        raise failure

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(DataError, match=r"00\.pt: it cannot be read \(Input/output error\)$"):
        read_noises(folder)
    failure = MemoryError()
    with pytest.raises(MemoryError):
        read_noises(folder)
