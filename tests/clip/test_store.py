"""Embeddings on disk: read back exactly, and made anew where a file is not whole."""

import os
import resource
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hw2.clip.store import EmbeddingStore
from hw2.data.labels import Labels
from hw2.data.listing.parts import Part
from hw2.data.listing.pictures import list_pictures
from hw2.errors import ConfigError, DataError
from tests.clip.small import NAMES, write_set

CONTENT = "5" * 64
PROMPTS = [["a dog", "the dog"], ["a “c\\at”"]]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "cache", "key")


@pytest.fixture
def part(tmp_path: Path) -> Part:
    labels = Labels(tuple(map(str, range(len(NAMES)))), NAMES)
    return list_pictures(str(write_set(tmp_path / "set", each=1)), labels).parts(6)[0]


def fill(store: EmbeddingStore, part: Part) -> tuple[np.ndarray, list[str | None]]:
    """Keep four good rows of six, remember them, and keep two classes."""
    vectors = np.random.default_rng(0).standard_normal((4, 9), dtype=np.float32)
    reasons = [None, "the file is empty", None, "not a picture (“x”)", None, None]
    store.write(CONTENT, vectors, reasons)
    store.remember(part, CONTENT)
    store.write_texts(PROMPTS, vectors[:2], 14.2857)
    return vectors, reasons


def test_what_is_kept_is_read_back_exactly(store: EmbeddingStore, part: Part) -> None:
    assert store.content_of(part) is None and not store.has_texts(PROMPTS)
    vectors, reasons = fill(store, part)
    found, told = store.read(CONTENT)
    assert found.dtype == np.float32
    assert np.array_equal(found[[0, 2, 4, 5]], vectors)
    assert not found[[1, 3]].any()
    assert told == reasons == store.reasons(CONTENT)
    assert store.content_of(part) == CONTENT
    classes, scale = store.read_texts(PROMPTS)
    assert np.array_equal(classes, vectors[:2]) and scale == 14.2857
    assert not store.has_texts([["a dog"], ["the dog", "a “c\\at”"]])  # the same texts, grouped


def test_a_set_elsewhere_is_read_although_it_looks_the_same(
    store: EmbeddingStore, part: Part
) -> None:
    fill(store, part)
    assert store.content_of(replace(part, root=f"{part.root}_b")) is None
    assert store.content_of(replace(part, index=5)) == CONTENT


def test_stores_of_other_keys_share_nothing(store: EmbeddingStore, part: Part) -> None:
    fill(store, part)
    other = EmbeddingStore(store.folder.parent, "another")
    assert other.content_of(part) is None and not other.has_texts(PROMPTS)


def test_a_part_of_bad_pictures_alone(store: EmbeddingStore) -> None:
    store.write(CONTENT, np.empty((0, 1), np.float32), ["the file is empty"] * 3)
    assert store.has(CONTENT)
    assert len(store.read(CONTENT)[0]) == 3
    assert store.reasons(CONTENT) == ["the file is empty"] * 3


def flip(content: bytes) -> bytes:
    """One bit of a number in the middle."""
    at = content.index(np.random.default_rng(0).standard_normal(9, dtype=np.float32).tobytes()) + 9
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "short": lambda content: content[:-1],
    "garbage": lambda content: b"\xff\xfenotes of a curious user" * 9,
    "flipped": flip,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("pattern", ["*.parquet", "texts/*.npz"], ids=["part", "texts"])
def test_a_damaged_file_is_not_there(
    pattern: str, damage: Callable[[bytes], bytes], store: EmbeddingStore, part: Part
) -> None:
    vectors, _ = fill(store, part)
    (path,) = store.folder.glob(pattern)
    path.write_bytes(damage(path.read_bytes()))
    if path.suffix == ".parquet":
        assert not store.has(CONTENT) and store.content_of(part) is None
        read = partial(store.read, CONTENT)
    else:
        assert not store.has_texts(PROMPTS)
        read = partial(store.read_texts, PROMPTS)
    with pytest.raises(DataError) as error:  # it broke after it was looked for
        read()
    said = str(error.value)
    assert f"{path}: no whole embeddings" in said and "run the same command again" in said
    assert "\n" not in said
    fill(store, part)
    assert np.array_equal(store.read(CONTENT)[0][0], vectors[0])
    assert store.has_texts(PROMPTS) and store.content_of(part) == CONTENT


@pytest.mark.parametrize("pattern", ["*.parquet", "texts/*.npz"], ids=["part", "texts"])
def test_a_whole_file_of_something_else_is_not_there(
    pattern: str, store: EmbeddingStore, part: Part
) -> None:
    """As where a tool that keeps folders alike has mistaken one for the other."""
    fill(store, part)
    (path,) = store.folder.glob(pattern)
    others = [*PROMPTS, ["another"]]
    path.rename(store._file("6" * 64) if path.suffix == ".parquet" else store._texts(others))
    assert not store.has("6" * 64) and not store.has_texts(others)
    assert store.has(CONTENT) != store.has_texts(PROMPTS)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../x", b"a\0b", b"f" * 9000, b"6" * 64])
def test_a_damaged_index_leads_nowhere(content: bytes, store: EmbeddingStore, part: Part) -> None:
    fill(store, part)
    (path,) = (store.folder / "index").iterdir()
    path.write_bytes(content)
    assert store.content_of(part) is None
    store.remember(part, CONTENT)
    assert store.content_of(part) == CONTENT


def test_a_cache_that_cannot_be_written(tmp_path: Path, part: Part) -> None:
    (tmp_path / "file").write_text("in the way")
    store = EmbeddingStore(tmp_path / "file" / "cache", "key")
    writes = [
        store.make,
        lambda: store.remember(part, CONTENT),
        lambda: store.write(CONTENT, np.zeros((1, 2), np.float32), [None]),
        lambda: store.write_texts(PROMPTS, np.zeros((1, 2), np.float32), 1.0),
    ]
    for write in writes:
        with pytest.raises(ConfigError) as error:
            write()
        said = str(error.value)
        assert f"{tmp_path}/file/cache: embeddings cannot be kept there" in said
        assert "choose another folder by --out, or --cache" in said and "\n" not in said
    assert store.content_of(part) is None


def test_jobs_that_begin_at_once_have_one_mark(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, draw = EmbeddingStore(store.folder.parent, "key"), uuid.uuid4

    def passed() -> uuid.UUID:
        monkeypatch.undo()
        other.make()
        return draw()

    monkeypatch.setattr(uuid, "uuid4", passed)
    store.make()
    assert store.mark == other.mark != ""
    assert os.listdir(store.folder) == ["mark"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("left", [None, ""], ids=["none", "empty"])
def test_a_mark_is_never_empty(
    left: str | None, links: bool, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*paths: Path) -> None:
        raise PermissionError(1, "Operation not permitted")  # as exFAT says it

    if not links:
        monkeypatch.setattr(os, "link", refused)
    store.folder.mkdir(parents=True)
    if left is not None:
        (store.folder / "mark").write_text(left)
    store.make()
    first = store.mark
    store.make()
    assert store.mark == first == (store.folder / "mark").read_text() != ""
    assert os.listdir(store.folder) == ["mark"]


def test_a_full_disk_leaves_no_half_file(store: EmbeddingStore, part: Part) -> None:
    fill(store, part)
    before = sorted(store.folder.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))  # writes beyond it fail
    try:
        with pytest.raises(ConfigError, match="make room"):
            store.write("7" * 64, np.ones((600, 64), np.float32), [None] * 600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(store.folder.rglob("*")) == before
