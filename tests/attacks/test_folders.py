"""Trees from others: links that lead out, pipes for files, texts that would end a reader."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from hw2.data.captions import captions_csv, read_captions, read_classes, train_folder
from hw2.data.concepts import read_concepts
from hw2.data.drawn import read_made
from hw2.data.faces import read_pictures
from hw2.data.images import orientation
from hw2.data.labels import read_labels
from hw2.data.noises import read_noises
from hw2.data.pack import open_pack, write_pack
from hw2.data.tables import read_table
from hw2.errors import DataError
from hw2.personalize.generated import find_together
from hw2.personalize.merging import read_caption_texts


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A picture that is none of the tree's."""
    Image.new("RGB", (32, 32)).save(tmp_path / "private.png")
    return tmp_path / "private.png"


def captions(tree: Path, picture: Path) -> object:
    train_folder(tree).mkdir(parents=True)
    captions_csv(tree).write_text("image_name,caption\na.png,a dog\n")
    (train_folder(tree) / "a.png").symlink_to(picture)
    return read_captions(tree, 8)


def classes(tree: Path, picture: Path) -> object:
    (tree / "clip_zeroshot/val").mkdir(parents=True)
    (tree / "clip_zeroshot/id2label.json").write_text('{"0": "dog"}')
    (tree / "clip_zeroshot/val/0_1.png").symlink_to(picture)
    return read_classes(tree, 8)


def faces(tree: Path, picture: Path) -> object:
    tree.mkdir()
    (tree / "00.png").symlink_to(picture)
    return read_pictures(tree)


def noises(tree: Path, picture: Path) -> object:
    tree.mkdir()
    torch.save(torch.zeros(1, 3, 32, 32), picture.with_suffix(".pt"))
    (tree / "00.pt").symlink_to(picture.with_suffix(".pt"))
    return read_noises(tree)


def generated(tree: Path, picture: Path) -> object:
    base = tree / "together" / "merged" / "0"
    base.mkdir(parents=True)
    (tree / "together/prompts.json").write_text('{"prompts": ["<a> and <b>"]}')
    (base / "merged_prompt0_0.png").symlink_to(picture)
    entry = {"src_image": "own", "prompt": "p", "prompt_4_clip_eval": "p", "baseline": [[1, 1]]}
    (tree / "own").mkdir()
    shutil.copy(picture, tree / "own/a.png")
    names = {"0": entry | {"token_name": "<a>"}, "1": entry | {"token_name": "<b>"}}
    (tree / "input.json").write_text(json.dumps(names))
    return find_together(tree, read_concepts(tree / "input.json"))


LINKED = {read.__name__: read for read in (captions, classes, faces, noises, generated)}


@pytest.mark.parametrize("what", LINKED)
def test_a_link_out_of_the_tree(what: str, tmp_path: Path, outside: Path) -> None:
    with pytest.raises(DataError, match="it leaves the folder by a link"):
        LINKED[what](tmp_path / "tree", outside)


def test_links_within_a_tree_that_is_one(tmp_path: Path, outside: Path) -> None:
    """Links that stay inside are taken, and the tree itself may lie elsewhere."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "tree").symlink_to(tmp_path / "disk")
    shutil.copy(outside, tmp_path / "disk/b.png")
    torch.save(torch.zeros(1, 3, 32, 32), tmp_path / "disk/b.pt")
    for suffix in ("png", "pt"):
        (tmp_path / f"disk/a.{suffix}").symlink_to(f"b.{suffix}")
    assert len(read_pictures(tmp_path / "tree").images) == 2
    assert len(read_noises(tmp_path / "tree").names) == 2


READ: dict[str, Callable[[Path], object]] = {
    "a table": lambda path: read_table(path, path.parent),
    "captions": lambda path: (
        path.rename(captions_csv(path.parent)),
        read_captions(path.parent, 8),
    ),
    "labels": read_labels,
    "concepts": read_concepts,
    "caption texts": lambda path: read_caption_texts(path, 3),
}


@pytest.mark.parametrize("what", READ)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_waited_for(what: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(DataError, match=r"regular file|Is a directory") as told:
        READ[what](path)
    assert str(tmp_path) in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("what", ["labels", "concepts"])
def test_json_that_is_nested_deep(what: str, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    for text in ("[" * 200_000, '{"0": ' * 200_000, '{"0": ' + "9" * 5000 + "}"):
        path.write_text(text)
        with pytest.raises(DataError) as told:
            READ[what](path)
        assert len(str(told.value)) < 400 + len(str(path)) and "\n" not in str(told.value)


def test_pipes_for_kept_files_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("pack.arrow", "drawn.png"):
        os.mkfifo(tmp_path / name)
    assert open_pack(tmp_path / "pack.arrow") is None
    with pytest.raises(DataError, match="it is not a regular file; delete it"):
        read_made([tmp_path / "drawn.png"])
    assert orientation(tmp_path / "drawn.png") == 1


def test_a_name_of_a_table_that_no_disk_takes(tmp_path: Path) -> None:
    train_folder(tmp_path).mkdir()
    Image.new("RGB", (8, 8)).save(train_folder(tmp_path) / "a.png")
    captions_csv(tmp_path).write_text(f"image_name,caption\na.png,a dog\n{'b' * 300},a cat\n")
    found = read_captions(tmp_path, 8, skip_bad=True)
    assert found.captions == ("a dog",) and "the file is missing" in found.bad[0].reason


@pytest.mark.parametrize("key", ["shape", "bad"])
def test_a_packed_split_that_was_put_there(key: str, tmp_path: Path) -> None:
    images, labels = np.zeros((1, 3, 4, 4), np.uint8), np.zeros(1, np.int64)
    write_pack(tmp_path / "a.arrow", images, labels, labels, ())
    assert open_pack(tmp_path / "a.arrow") is not None
    batch = pa.ipc.open_file(tmp_path / "a.arrow").get_batch(0)
    for text in ("[" * 100_000, "[-1]", "[1e30]", "{}", "[4294967296, 3, 4, 4]"):
        false = batch.schema.metadata | {key.encode(): text.encode()}
        lying = batch.replace_schema_metadata(false)
        sink = pa.OSFile(str(tmp_path / "b.arrow"), "wb")
        with sink, pa.ipc.new_file(sink, lying.schema) as writer:
            writer.write_batch(lying)
        assert open_pack(tmp_path / "b.arrow") is None


def test_a_file_over_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte that takes no room
    for read in (read_concepts, read_labels, lambda p: read_table(p, tmp_path)):
        with pytest.raises(DataError, match="bytes are over the allowed"):
            read(path)


@pytest.mark.parametrize("source", ["..", "a/b", "/etc", "a\0b", "\x1b[2J", "\u202egpj", "a\nb"])
def test_a_source_that_would_be_another_folder(source: str, tmp_path: Path) -> None:
    """Sources name folders of results."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    entry = {"src_image": "a.png", "token_name": "<a>", "prompt": "p", "prompt_4_clip_eval": "p"}
    (tmp_path / "input.json").write_text(json.dumps({source: entry | {"baseline": [[1, 1]]}}))
    with pytest.raises(DataError, match="a source names a folder of results"):
        read_concepts(tmp_path / "input.json")
