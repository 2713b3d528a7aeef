import hashlib
import json
import multiprocessing
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data import digits as digits_module
from hw2.data.digits import DigitSplit, read_split
from hw2.errors import ConfigError, DataError


def read(root: Path, split: str = "train", **settings: object) -> DigitSplit:
    return read_split(root, split, progress=False, **settings)  # type: ignore[arg-type]


def packs(root: Path) -> list[Path]:
    return sorted((root / "digits/.packed").glob("*.arrow"))


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a picture that is decoded fails the test."""

    def decode(path: Path, image_size: int) -> np.ndarray:
        raise AssertionError(f"decoded {path}")

    monkeypatch.setattr(digits_module, "decode", decode)


def test_rows_come_in_csv_order_mnistm_first(course_tree: Path) -> None:
    found = read(course_tree)
    assert found.images.dtype == torch.uint8
    assert found.digits.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert found.domains.tolist() == [0] * 6 + [1] * 6
    for place, domain in ((2, "mnistm"), (8, "svhn")):
        with Image.open(course_tree / f"digits/{domain}/data/00002.png") as picture:
            expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        torch.testing.assert_close(found.images[place], expected)


def test_the_hash_covers_labels_and_pixels(course_tree: Path) -> None:
    found = read(course_tree)
    digest = hashlib.sha256(json.dumps([12, 3, 28, 28]).encode())
    for part in (found.digits, found.domains, found.images):
        digest.update(part.numpy().tobytes())
    assert found.content_hash == digest.hexdigest()
    table = course_tree / "digits/svhn/train.csv"
    table.write_text(table.read_text().replace("00003.png,3", "00003.png,4"))
    assert read(course_tree).content_hash != found.content_hash


def test_the_hash_does_not_depend_on_where_the_tree_lies(course_tree: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    before = read(course_tree).content_hash
    (course_tree / "digits").rename(moved / "digits")
    assert read(moved).content_hash == before


def test_tensors_map_the_pack_privately(course_tree: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, again = read(course_tree), read(course_tree)
    found.images.zero_()
    assert again.images.float().mean() > 100
    assert read(course_tree).content_hash == again.content_hash
    if os.path.exists("/proc/self/maps"):
        address = found.images.data_ptr()
        ranges = [
            [int(end, 16) for end in line.split()[0].split("-")]
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.endswith(".arrow")
        ]
        assert any(start <= address < end for start, end in ranges)


def test_a_pack_is_used_again(course_tree: Path, request: pytest.FixtureRequest) -> None:
    first = read(course_tree)
    request.getfixturevalue("no_decoding")
    assert read(course_tree).content_hash == first.content_hash


def test_a_pack_with_bad_rows_is_used_again_however_the_root_is_written(
    course_tree: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = course_tree / "digits/svhn/train.csv"
    (table.parent / "data/out.png").symlink_to(table)
    table.write_text(table.read_text() + "00001.png,77\n../x.png,1\nout.png,1\nnone.png,1\n")
    (course_tree / "digits/svhn/val.csv").write_text("image_name,label\n00001.png,77\n")
    monkeypatch.chdir(course_tree.parent)
    relative = Path(course_tree.name)
    first = read(relative, skip_bad=True)
    with pytest.raises(DataError, match=r"no row can be used: .*label '77'"):
        read(relative, "val")
    request.getfixturevalue("no_decoding")
    found = read(course_tree, skip_bad=True)
    assert found.content_hash == first.content_hash
    assert [row.reason for row in found.bad] == [row.reason for row in first.bad]
    assert {row.file for row in first.bad} == {str(relative / "digits/svhn/train.csv")}
    assert {row.file for row in found.bad} == {str(table)}  # as here, not as the packer wrote it
    with pytest.raises(DataError, match=r"no row can be used: .*label '77'"):
        read(course_tree, "val")


def test_a_changed_picture_is_packed_anew_and_the_old_pack_goes_when_nobody_has_it(
    course_tree: Path,
) -> None:
    first, (old,) = read(course_tree), packs(course_tree)
    changed = course_tree / "digits/svhn/data/00000.png"
    Image.new("RGB", (28, 28), "red").save(changed)
    second = read(course_tree)
    assert old in packs(course_tree) and len(packs(course_tree)) == 2
    assert second.content_hash != first.content_hash
    assert second.images[6, :, 5, 5].tolist() == [255, 0, 0]
    os.utime(old, (0, 0))
    Image.new("RGB", (28, 28), "blue").save(changed)
    read(course_tree)
    assert old not in packs(course_tree) and len(packs(course_tree)) == 2
    assert first.images[0].float().mean() > 0  # a map that is open stays readable


def test_a_changed_picture_of_as_many_bytes_is_packed_anew(course_tree: Path) -> None:
    changed, sizes = course_tree / "digits/svhn/data/00000.png", set()
    for colour, pixel in (("blue", [0, 0, 255]), ("red", [255, 0, 0])):
        Image.new("RGB", (28, 28), colour).save(changed, compress_level=0)
        sizes.add(changed.stat().st_size)
        assert read(course_tree).images[6, :, 5, 5].tolist() == pixel
    assert len(sizes) == 1


def test_a_changed_picture_of_the_same_time_is_packed_anew(course_tree: Path) -> None:
    changed = course_tree / "digits/svhn/data/00000.png"
    before, time = read(course_tree).content_hash, changed.stat().st_mtime_ns
    Image.new("RGB", (28, 28), "blue").save(changed)
    os.utime(changed, ns=(time, time))  # as unpacked from an archive
    assert read(course_tree).content_hash != before


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "noise", "bad list"])
def test_a_broken_pack_is_found_out_and_rebuilt(course_tree: Path, harm: str) -> None:
    table = course_tree / "digits/svhn/train.csv"
    table.write_text(table.read_text() + "00001.png,77\n")
    whole = read(course_tree, skip_bad=True)
    (pack,) = packs(course_tree)
    content = bytearray(pack.read_bytes())
    if harm == "cut":
        del content[len(content) // 2 :]
    elif harm == "flip":
        content[len(content) // 2] ^= 1
    elif harm == "empty":
        content.clear()
    elif harm == "noise":
        content[:] = np.random.default_rng(0).bytes(len(content))
    else:
        content[:] = bytes(content).replace(b"label '77'", b"label '99'")
    pack.unlink()
    pack.write_bytes(content)
    rebuilt = read(course_tree, skip_bad=True)
    assert rebuilt.content_hash == whole.content_hash
    assert rebuilt.bad == whole.bad
    assert pack.read_bytes() != bytes(content)


def _hash_of(root: Path) -> str:
    return read(root).content_hash


def test_two_processes_can_pack_at_once(digits_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "tree/digits").mkdir(parents=True)
    for domain in ("mnistm", "svhn"):
        # A linked folder is fine: only the files in it must not lead out of it.
        os.symlink(digits_tree / "digits" / domain, tmp_path / "tree/digits" / domain)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        hashes = pool.map(_hash_of, [tmp_path / "tree"] * 2, chunksize=1)
    assert hashes == [read(tmp_path / "tree").content_hash] * 2
    assert [path.suffix for path in (tmp_path / "tree/digits/.packed").iterdir()] == [".arrow"]


def test_a_tree_that_cannot_be_written_is_packed_in_the_users_cache(
    course_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    (course_tree / "digits/.packed").write_text("in the way, even of root")
    assert len(read(course_tree).digits) == 12
    assert len(list((tmp_path / "user/hw2/packed").glob("*/*.arrow"))) == 1


def test_a_cache_folder_can_be_given_and_must_be_writable(
    course_tree: Path, tmp_path: Path
) -> None:
    read(course_tree, cache=tmp_path / "packs")
    assert len(list((tmp_path / "packs").glob("*/*.arrow"))) == 1
    assert not (course_tree / "digits/.packed").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"nowhere to keep.*--data\.cache"):
        read(course_tree, cache=tmp_path / "file")


def test_trees_that_share_a_cache_keep_their_packs(
    course_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees, packs = (course_tree, tmp_path / "other"), tmp_path / "packs"
    shutil.copytree(course_tree, trees[1])
    for tree in trees:
        read(tree, cache=packs)
    made = {path: path.stat().st_mtime_ns for path in packs.glob("*/*.arrow")}
    assert len(made) == 2
    monkeypatch.chdir(tmp_path)
    for tree in (*trees, Path("other")):
        read(tree, cache=packs)
    assert {path: path.stat().st_mtime_ns for path in packs.glob("*/*.arrow")} == made


def test_an_offline_tree_is_read_whole(digits_tree: Path, tmp_path: Path) -> None:
    found = read(digits_tree, "val", cache=tmp_path, image_size=32)
    assert found.images.shape == (200, 3, 32, 32)
    assert torch.bincount(found.digits).tolist() == [20] * 10
    assert found.bad == ()
    assert len(found) == 200


def test_an_impossible_size_is_refused(course_tree: Path) -> None:
    with pytest.raises(ConfigError, match="image_size=1025"):
        read(course_tree, image_size=1025)
