"""Small files that would become gigabytes, or keep a processor for hours."""

import io
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hw2.clip.store import EmbeddingStore
from hw2.data.images import decode, decode_bytes
from hw2.data.labels import read_labels
from hw2.data.listing.parts import read_part
from hw2.data.listing.pictures import list_pictures
from hw2.errors import DataError
from hw2.sweeps.trial import kept_arrays
from tests.attacks.hostile import chunk, jpeg, png

QUARTER_GIGABYTE = zlib.compress(bytes(2**28), 9)
TEXT = b"key\0"
BOMBS = {
    "size": png(2**31 - 1, 2**31 - 1),
    "zTXt": png(8, 8, chunk(b"zTXt", TEXT + b"\0" + QUARTER_GIGABYTE)),
    "iTXt": png(8, 8, chunk(b"iTXt", TEXT + b"\1\0\0\0" + QUARTER_GIGABYTE)),
    "iCCP": png(8, 8, chunk(b"iCCP", TEXT + b"\0" + QUARTER_GIGABYTE)),
    "many texts": png(8, 8, *[chunk(b"tEXt", TEXT + bytes(2**20 - 9))] * 66),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_png(what: str, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(BOMBS[what])
    for read in (lambda: decode(tmp_path / "bomb.png"), lambda: decode_bytes(BOMBS[what])):
        with pytest.raises(DataError, match=r"over 64 megapixels|too large|Too much memory"):
            read()


def test_pixels_behind_the_picture_are_not_unpacked() -> None:
    assert not decode_bytes(png(8, 8, data=QUARTER_GIGABYTE)).any()


def test_a_jpeg() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    with pytest.raises(DataError, match="over 64 megapixels"):
        decode_bytes(jpeg(65535, 65535, file.getvalue()))

    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    assert decode_bytes(whole).shape == (64, 64, 3)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(DataError, match="210 scans are over 100"):  # a hundredth of a second each,
        decode_bytes(whole[:-2] + scan * 200 + whole[-2:])  # or a third at 62 megapixels


def test_a_jpeg_that_says_to_be_two(tmp_path: Path) -> None:
    """PIL calls it MPO, as phones' pictures with a depth map are."""
    file = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    picture.save(file, "MPO", save_all=True, append_images=[picture], progressive=True)
    both = file.getvalue()
    first = both[: both.index(b"\xff\xd9\xff\xd8")]
    with Image.open(io.BytesIO(both)) as opened:
        assert opened.format == "MPO"
    assert decode_bytes(both).shape == (64, 64, 3)
    scan = first[first.rindex(b"\xff\xda") :]
    (tmp_path / "bomb.jpg").write_bytes(first + scan * 200 + both[len(first) :])
    with pytest.raises(DataError, match=r"2[0-9][0-9] scans are over 100"):
        decode(tmp_path / "bomb.jpg")


def test_a_tar_of_members_that_are_not_there(tmp_path: Path) -> None:
    """Sizes, links and devices are read from the headers; nothing is ever unpacked to a disk."""
    folder = tmp_path / "deep/er"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "set.tar", "w") as tar:
        for name, kind in (
            ("../../0_1.png", tarfile.LNKTYPE),
            ("/etc/0_2.png", tarfile.BLKTYPE),
            ("0_3.png", tarfile.SYMTYPE),
            ("0_4.png", tarfile.CHRTYPE),
            ("0_5.png", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        huge = tarfile.TarInfo("0_6.png")
        huge.size = 2**40
        tar.fileobj.write(huge.tobuf())  # type: ignore[union-attr]  # the header alone
    (tmp_path / "id2label.json").write_text('{"0": "zero"}')
    labels = read_labels(tmp_path / "id2label.json")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="holds no usable picture") as told:
        list_pictures(str(folder / "set.tar"), labels)
    assert "it is not a regular file" in str(told.value) and "\n" not in str(told.value)
    assert set(tmp_path.rglob("*")) == before


def test_a_parquet_cell(tmp_path: Path) -> None:
    """Sixteen cells of 65 MiB, in a hundredth of that: each is refused by its size."""
    (tmp_path / "id2label.json").write_text('{"0": "zero"}')
    cells = pa.array([bytes(65 * 2**20)] * 2)
    table = pa.table({"image": cells, "label": ["0"] * 2})
    pq.write_table(table, tmp_path / "set.parquet", compression="zstd")
    assert (tmp_path / "set.parquet").stat().st_size < 2**20
    labels = read_labels(tmp_path / "id2label.json")
    [part] = list_pictures(str(tmp_path / "set.parquet"), labels).parts(10)
    reads = list(read_part(part))
    assert [content for _, content, _ in reads] == [None] * 2
    assert all("over the allowed" in reason for _, _, reason in reads if reason)


def test_embeddings_that_were_put_there(tmp_path: Path) -> None:
    store, content = EmbeddingStore(tmp_path, "model"), "0" * 64
    store.make()
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2**22, np.float32)), 64)
    table = pa.table({"embedding": values, "reason": pa.nulls(2**16, pa.string())})
    pq.write_table(table, store.folder / f"{content}.parquet", compression="zstd")
    assert not store.has(content)
    with pytest.raises(DataError, match=r"no whole embeddings .*65536 rows in"):
        store.read(content)

    prompts = [["a photo of a dog"]]
    store.write_texts(prompts, np.zeros((1, 8), np.float32), 1.0)
    assert store.has_texts(prompts)
    [path] = (store.folder / "texts").iterdir()
    of = np.array(path.stem)
    np.savez_compressed(path, classes=np.zeros(2**22), scale=np.float64(1), of=of)
    with pytest.raises(DataError, match="bytes unpacked are over the allowed"):
        store.read_texts(prompts)
    np.savez(path, classes=np.array([print], object), scale=np.float64(1), of=of)  # a pickle
    with pytest.raises(DataError, match="allow_pickle"):
        store.read_texts(prompts)


def test_embeddings_of_texts_that_are_torn(tmp_path: Path) -> None:
    """What is kept is made again, whichever of zip's and NumPy's own errors it raises."""
    store, prompts = EmbeddingStore(tmp_path, "model"), [["a photo of a dog"]]
    store.make()
    store.write_texts(prompts, np.zeros((1, 8), np.float32), 1.0)
    [path] = (store.folder / "texts").iterdir()
    whole = path.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # where the listing begins
    for place, value in ((8, 1), (10, 99), (10, 8)):  # encrypted, packed in no known way, packed
        spoilt = bytearray(whole)
        spoilt[entry + place] = value
        path.write_bytes(spoilt)
        with pytest.raises(DataError, match="no whole embeddings"):
            store.read_texts(prompts)
    os.mkfifo(store.folder / f"{'0' * 64}.parquet")
    assert not store.has("0" * 64)
    of, two = np.array(path.stem), np.zeros(2)
    np.savez(path, classes=np.zeros((1, 8), np.float32), scale=two, of=of)
    assert not store.has_texts(prompts)


def test_arrays_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chunk_000000.npz"
    np.savez_compressed(path, pictures=np.zeros(2**20, np.uint8))
    assert kept_arrays(path) is not None
    monkeypatch.setattr("hw2.sweeps.trial.MAX_BYTES", 2**19)
    assert kept_arrays(path) is None
    np.savez(path, pictures=np.array([print], object))
    assert kept_arrays(path) is None
    path.unlink()
    path.symlink_to("/dev/zero")
    assert kept_arrays(path) is None
