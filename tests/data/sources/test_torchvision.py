"""The torchvision source, on small sets in the published formats, written here."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from torchvision.datasets import MNIST, SVHN

from hw2.data.digits import read_split
from hw2.data.offline.mnistm import blend, pool
from hw2.data.offline.rng import picture_rng
from hw2.data.sources.torchvision import TorchvisionSource
from hw2.data.tree import prepare_digits
from hw2.errors import ConfigError, DataError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """30 train and 20 test pictures of MNIST (idx files) and of SVHN (Matlab files)."""
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    monkeypatch.setattr(SVHN, "download", lambda self: None)
    folder = tmp_path / "cache"
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True)
    (folder / "SVHN").mkdir()
    rng = np.random.default_rng(0)
    for split, file, count in (("train", "train", 30), ("test", "t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pictures = pool("train")[labels, 0]
        idx3 = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + pictures.tobytes()
        idx1 = struct.pack(">HBBI", 0, 8, 1, count) + labels.tobytes()
        (raw / f"{file}-images-idx3-ubyte").write_bytes(idx3)
        (raw / f"{file}-labels-idx1-ubyte").write_bytes(idx1)
        crops = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        matlab = {"X": crops, "y": np.where(labels == 0, 10, labels)[:, None]}
        savemat(folder / f"SVHN/{split}_32x32.mat", matlab)
    return folder


def prepare(out: Path, cache: Path, num_train: int = 1000, num_val: int = 1000) -> None:
    prepare_digits(out, 0, num_train, num_val, source="torchvision", cache=cache)


def test_the_same_tree_comes_out(cache: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", cache)
    train = read_split(tmp_path / "out", "train", progress=False)
    val = read_split(tmp_path / "out", "val", progress=False)
    assert train.digits.tolist() == [i % 10 for i in range(30)] * 2
    assert val.digits.tolist() == [i % 10 for i in range(20)] * 2


def test_svhn_is_the_crop_resized_and_ten_means_zero(cache: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", cache)
    crop = loadmat(cache / "SVHN/train_32x32.mat")["X"][..., 10]
    expected = Image.fromarray(crop).resize((28, 28), Image.Resampling.BILINEAR)
    with Image.open(tmp_path / "out/digits/svhn/data/00010.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))
    rows = (tmp_path / "out/digits/svhn/train.csv").read_text().splitlines()
    assert rows[11] == "00010.png,0"


def test_mnistm_blends_the_sets_own_digits(cache: Path) -> None:
    source = TorchvisionSource(0, 30, 20, cache)
    picture = source.picture("mnistm", "train", 13)
    digit = pool("train")[3, 0].astype(int)
    patch = blend(picture_rng(0, "mnistm", "train", 13), "train", np.zeros((28, 28), np.uint8))
    np.testing.assert_array_equal(picture, abs(patch.astype(int) - digit[..., None]))


def test_sizes_are_upper_bounds(cache: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "out", cache, num_train=12, num_val=10)
    assert len(read_split(tmp_path / "out", "train", progress=False)) == 24


def test_sets_that_cannot_be_had_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MNIST, "download", lambda self: None)
    with pytest.raises(DataError, match=r"MNIST cannot be read .*check the network.*offline"):
        prepare(tmp_path / "out", tmp_path / "none")
    assert not (tmp_path / "out").exists()
    prepare_digits(tmp_path / "out", 0, 10, 10)  # the way out that it names


def test_a_broken_set_is_refused(cache: Path, tmp_path: Path) -> None:
    file = cache / "SVHN/test_32x32.mat"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="SVHN cannot be read"):
        prepare(tmp_path / "out", cache)


def test_an_offline_tree_is_not_mixed_with_the_real_sets(digits_tree: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match="this recipe did not make"):
        prepare(digits_tree, cache)
