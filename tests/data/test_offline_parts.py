"""What all parts of the offline tree promise: continued to the byte, and no other's overwritten."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from hw2.data.clip_tree import clip_recipe, write_clip
from hw2.data.concept_tree import concepts_recipe, write_concepts
from hw2.data.face_tree import faces_recipe, write_faces
from hw2.data.recipe import Recipe
from hw2.data.text2image_tree import text2image_recipe, write_text2image
from hw2.data.tree import prepare_digits
from hw2.errors import ConfigError
from tests.hashes import files

SEED = 5


class Part(NamedTuple):
    """A folder of the tree: what writes it, at which sizes, files to lose, and its early check."""

    folder: str
    write: Callable[..., None]
    sizes: dict[str, int]
    lost: tuple[str, ...]
    recipe: Callable[..., Recipe] | None = None

    def check(self, root: Path, **given: int) -> None:
        """As jobs.prepare_data does before it makes anything."""
        if self.recipe:
            self.recipe(root, **given).check()


PARTS = [
    Part(
        "digits",
        prepare_digits,
        {"num_train": 20, "num_val": 10},
        ("svhn/data/00007.png", "mnistm/val.csv"),
    ),
    Part(
        "face",
        partial(write_faces, weights=Path("none")),
        {"num_faces": 3, "num_noises": 2},
        ("real/0001.png", "noise/01.pt"),
        faces_recipe,
    ),
    Part(
        "clip_zeroshot",
        write_clip,
        {"num_train": 6, "num_val_per_class": 1},
        ("train/00005.png", "val/31_0.png", "train.csv", "id2label.json"),
        clip_recipe,
    ),
    Part(
        "text2image",
        write_text2image,
        {"num_pictures": 7},
        ("train/00005.png", "train.csv"),
        text2image_recipe,
    ),
    Part("textual_inversion", write_concepts, {}, ("2/01.jpg", "input.json"), concepts_recipe),
]
all_parts = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.folder)


@all_parts
def test_a_second_call_writes_what_is_lost_and_nothing_else(part: Part, tmp_path: Path) -> None:
    part.write(tmp_path, SEED, **part.sizes)
    whole = files(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    part.write(tmp_path, SEED, **part.sizes)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    for name in part.lost:
        (tmp_path / part.folder / name).unlink()
    part.write(tmp_path, SEED, **part.sizes)
    assert files(tmp_path) == whole


@all_parts
def test_one_made_otherwise_is_refused(part: Part, tmp_path: Path) -> None:
    given = {"seed": SEED, **part.sizes}
    part.write(tmp_path, **given)
    before = files(tmp_path)
    refusals = [part.write, *([part.check] if part.recipe else [])]
    for key, value in given.items():
        told = rf"other settings \({key}: {value} there, {value + 1} here\): take another folder"
        for refuse in refusals:
            with pytest.raises(ConfigError, match=told):
                refuse(tmp_path, **given | {key: value + 1})
    assert files(tmp_path) == before
    (tmp_path / part.folder / "offline.json").write_text("{torn")
    before = files(tmp_path)
    for refuse in refusals:
        with pytest.raises(ConfigError, match=r"\(offline.json is broken\): take another folder"):
            refuse(tmp_path, **given)
    assert files(tmp_path) == before


@all_parts
def test_anothers_folder_is_left_as_it_is(
    part: Part, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / part.folder / "sub").mkdir(parents=True)
    (tmp_path / part.folder / "id2label.json.bak").write_text("the course's")
    for act in (part.check, part.write):
        act(tmp_path, seed=SEED, **part.sizes)
    told = f"{tmp_path / part.folder}: not made by this job, left as it is\n"
    assert capsys.readouterr().out == told
    assert list(files(tmp_path)) == [f"{part.folder}/id2label.json.bak"]


def test_each_captioned_picture_has_a_row_and_without_any_nothing_is_made(tmp_path: Path) -> None:
    write_text2image(tmp_path, SEED, 0)
    assert not list(tmp_path.iterdir())
    write_text2image(tmp_path, SEED, 7)
    assert len((tmp_path / "text2image/train.csv").read_text().splitlines()) == 1 + 7
    assert len(list((tmp_path / "text2image/train").iterdir())) == 7
