"""Refusals of the reader of input.json, each by really making the bad file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from hw2.data.concepts import (
    chosen_concepts,
    concept_pictures,
    one_concept,
    read_concepts,
    warn_of_files,
)
from hw2.errors import ConfigError, DataError
from tests.personalize.small_input import write_input


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_input(tmp_path / "concepts")


def changed(file: Path, **entries: Any) -> Path:
    found = json.loads(file.read_text())
    found["0"] = {key: v for key, v in (found["0"] | entries).items() if v != "absent"}
    file.write_text(json.dumps(found))
    return file


def refusal(file: Path) -> str:
    with pytest.raises(DataError) as error:
        read_concepts(file)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_forms_of_src_image(file: Path) -> None:
    names = [f"0/{place:02d}.jpg" for place in range(3)]
    (file.parent / "0/._00.jpg").touch()  # as macOS leaves beside a picture
    (file.parent / "0/02.jpg").rename(file.parent / "0/02.JPG")  # as cameras call theirs
    names[2] = "0/02.JPG"
    whole = read_concepts(file)["0"]
    for form, count in (("0", 3), ("./0/", 3), (names, 3), (names[1], 1), ("dog", 3)):
        found = read_concepts(changed(file, src_image=form))["0"]
        assert len(found.pictures) == count, form
        assert found.pictures == (whole.pictures[1:2] if count == 1 else whole.pictures), form


def test_files_of_kinds_that_are_not_read_are_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    concept = read_concepts(file)["0"]
    for name in ("Thumbs.db", ".DS_Store"):
        (file.parent / "0" / name).touch()
    warn_of_files(concept)
    assert capsys.readouterr().err == ""
    for number in range(7):
        (file.parent / f"0/{number}.HEIC").touch()
    warn_of_files(concept)
    told = f"warning: source 0: learnt from 3 pictures of {file.parent}/0; passed over: 0.HEIC"
    told += ", 1.HEIC, 2.HEIC, 3.HEIC, 4.HEIC and 2 more (want .bmp, "
    assert capsys.readouterr().err.startswith(told)


def test_the_widest_baseline(file: Path) -> None:
    found = read_concepts(changed(file, baseline=[[-100, 100]]))["0"]
    assert found.baselines == ((-100.0, 100.0),)


def test_each_entry_is_what_it_is_called(file: Path) -> None:
    texts = {"prompt": "a red <new1>", "prompt_4_clip_eval": "a red cat", "kind": "style"}
    found = read_concepts(changed(file, **texts, baseline=[[60, 20]]))["0"]
    assert (found.source, found.token_name) == ("0", "<new1>")
    assert (found.prompts, found.prompts_for_score) == (("a red <new1>",), ("a red cat",))
    assert found.baselines == ((60.0, 20.0),)
    assert (found.initializer_token, found.kind) == ("cat", "style")


def test_sources_that_are_asked_for_come_in_their_order(file: Path) -> None:
    concepts = read_concepts(file)
    assert [*chosen_concepts(concepts, ["1", "0"])] == ["1", "0"]
    assert [*chosen_concepts(concepts, None)] == [*chosen_concepts(concepts, [])] == ["0", "1"]


def test_the_middle_square_is_taken(file: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (200, 100, 50)
    Image.fromarray(wide).save(file.parent / "0/wide.png")
    concept = read_concepts(changed(file, src_image="0/wide.png"))["0"]
    found = concept_pictures(concept, 8)
    assert found.shape == (1, 3, 8, 8)
    assert (found.movedim(1, -1) == np.array([200, 100, 50])).all()


def test_a_broken_picture_is_told_with_the_way_out(file: Path) -> None:
    path = file.parent / "0/01.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"01\.jpg: .*: replace it, or leave it out of src_image$"):
        concept_pictures(read_concepts(file)["0"], 16)


def test_photographs_are_learnt_upright_and_known_by_it(file: Path) -> None:
    paths = sorted((file.parent / "0").iterdir())
    plain = hashlib.sha256()
    for path in paths:
        plain.update(hashlib.sha256(path.read_bytes()).digest())
    before = read_concepts(file)["0"]
    assert before.content_hash == plain.hexdigest()  # as ever, for pictures that are upright
    pictures = concept_pictures(before, 16)

    with Image.open(paths[1]) as opened:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6  # the camera was turned
        opened.save(paths[1], exif=exif, quality="keep")
    content = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    after = read_concepts(file)["0"]
    turned = concept_pictures(after, 16)
    with Image.open(paths[1]) as opened:
        expected = np.rot90(np.asarray(opened), -1)
    assert (turned[1].movedim(0, -1).numpy() == expected).all()
    assert torch.equal(turned[::2], pictures[::2])
    # What was learnt on its side, from the same bytes, is not taken for done.
    assert after.content_hash != hashlib.sha256(b"".join(content)).hexdigest()
    with Image.open(paths[1]) as opened:
        exif[ExifTags.Base.Orientation] = 2  # a mirror image
        opened.save(paths[1], exif=exif, quality="keep")
    content = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    content.insert(2, b"orientation 2")
    assert read_concepts(file)["0"].content_hash == hashlib.sha256(b"".join(content)).hexdigest()


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"src_image": "absent"}, "source '0': has no src_image"),
        ({"src_image": "../elsewhere"}, "'../elsewhere' leads out of"),
        ({"src_image": "/etc"}, "'/etc' leads out of"),
        ({"src_image": 3}, "src_image='3': want a folder or files"),
        ({"src_image": "a\0b"}, r"'a\x00b' leads out of"),
        ({"src_image": ["0/00.jpg", "0/none.jpg"]}, "is no file"),
        ({"src_image": ["0/none.jpg", "0/00.jpg"]}, "is no file"),
        ({"src_image": ["0", "0/00.jpg"]}, "is no file"),
        ({"token_name": "two words"}, "token_name='two words': want one word"),
        ({"token_name": 5}, "token_name='5': want one word"),
        ({"token_name": ""}, "token_name='': want one word"),
        ({"token_name": "<new\a>"}, "want one word"),
        ({"prompt": ["a", "b"]}, "have 2, 1 and 1 entries"),
        ({"prompt_4_clip_eval": ["a", "b"]}, "have 1, 2 and 1 entries"),
        ({"baseline": [[60, 20], [60, 20]]}, "have 1, 1 and 2 entries"),
        ({"prompt": []}, "prompt='[]': want a list of texts"),
        ({"prompt": [3]}, "prompt='[3]': want a list of texts"),
        ({"prompt": [" "]}, "prompt=\"[' ']\": want a list of texts"),
        ({"prompt": ["a \ud800"]}, r"a \\ud800']"),
        ({"baseline": 60}, "baseline='60': want [image, text]"),
        ({"baseline": [[60]]}, "baseline='[60]': want [image, text]"),
        ({"baseline": [[60, 200]]}, "each of -100 to 100"),
        ({"baseline": [[True, 20]]}, "each of -100 to 100"),
        ({"kind": "thing"}, "kind='thing': want object or style"),
        ({"initializer_token": 5}, "initializer_token='5': want a word"),
    ],
)
def test_bad_entries(file: Path, entries: dict[str, Any], told: str) -> None:
    assert told in refusal(changed(file, **entries))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[1]", "want concepts by source"),
        ("{}", "want concepts by source"),
        ('{"0": 5}', "want an object with src_image"),
        ('{"../0": {}}', "a source names a folder"),
        ('{"a\\\\b": {}}', "a source names a folder"),
        ('{"a\\nb": {}}', "a source names a folder"),
    ],
)
def test_bad_files(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    assert told in refusal(file)


def test_a_ring_of_links_is_told(file: Path) -> None:
    for name, target in (("ring", "knot"), ("knot", "ring")):
        (file.parent / name).symlink_to(target)
    assert "'ring' leads out of" in refusal(changed(file, src_image="ring"))


def test_a_source_that_is_there_twice_is_told(file: Path) -> None:
    entry = json.dumps(json.loads(file.read_text())["0"])
    file.write_text(f'{{"0": {entry}, "0": {entry}}}')
    assert refusal(file) == f"{file}: '0' is there twice: keep one"


def test_a_folder_of_too_many_pictures_is_told(file: Path) -> None:
    (file.parent / "many").mkdir()
    for number in range(1001):
        (file.parent / f"many/{number:04d}.jpg").touch()
    assert "1001 pictures; at most 1000 are a concept" in refusal(changed(file, src_image="many"))
    (file.parent / "many/0000.jpg").unlink()
    assert len(read_concepts(changed(file, src_image="many"))["0"].pictures) == 1000


def test_links_folders_without_pictures_and_nothing(file: Path) -> None:
    outside = file.parents[1] / "outside"
    outside.mkdir()
    (file.parent / "link").symlink_to(outside)
    assert "leads out of" in refusal(changed(file, src_image="link"))
    (file.parent / "empty").mkdir()
    (file.parent / "empty/notes.txt").write_text("none")
    assert "empty holds no pictures: want .bmp, .jpeg" in refusal(changed(file, src_image="empty"))
    file.unlink()
    assert "cannot be read" in refusal(file) and "prepare_data" in refusal(file)


def test_broken_pictures_and_unknown_sources(file: Path) -> None:
    concepts = read_concepts(file)
    (file.parent / "0/01.jpg").write_bytes((file.parent / "0/01.jpg").read_bytes()[:200])
    with pytest.raises(DataError, match=r"01\.jpg: broken picture"):
        concept_pictures(concepts["0"], 8)
    with pytest.raises(ConfigError, match="source=7: no such concept; there is 0, 1"):
        one_concept(concepts, "7")
