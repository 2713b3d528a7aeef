"""The offline tree for CLIP: layout, disjoint regions, combinations that training never shows."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hw2.data.clip_tree import describe_clip, write_clip
from hw2.data.offline.rng import scene_rng
from hw2.data.offline.scenes import (
    CLASSES,
    COLOURS,
    MORE_COLOURS,
    SEEN,
    TEMPLATES,
    TILE,
    caption_of,
    crop,
    grey,
    held_out,
    scene,
    shows_something,
    small,
    val_scene,
)
from hw2.errors import ConfigError
from hw2.settings.data import PrepareDataConfig
from jobs.prepare_data import main

SEED, TRAIN, VAL = 5, 400, 1
THINGS = [
    "brick",
    "gravel",
    "grass",
    "coins",
    "galaxies",
    "tissue",
    "print",
    "handwriting",
    "flower",
    "temple",
]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 400 train pictures and one val picture a class. Do not change it."""
    root = tmp_path_factory.mktemp("clip")
    write_clip(root, SEED, TRAIN, VAL)
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "clip_zeroshot", tmp_path / "clip_zeroshot")
    return tmp_path


def captions(root: Path) -> list[list[str]]:
    with (root / "clip_zeroshot/train.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_the_tree_has_the_courses_layout(made: Path) -> None:
    folder = made / "clip_zeroshot"
    names = json.loads((folder / "id2label.json").read_text())
    assert list(names) == [str(label) for label in range(50)]
    assert set(names.values()) == {f"{colour}_{thing}" for colour in COLOURS for thing in THINGS}
    assert names["0"] == "red_brick"
    assert {p.name for p in (folder / "val").iterdir()} == {f"{label}_0.png" for label in range(50)}
    header, *rows = captions(made)
    assert header == ["image_name", "caption"]
    assert [name for name, _ in rows] == sorted(p.name for p in (folder / "train").iterdir())
    assert len(rows) == TRAIN
    with Image.open(folder / "val/49_0.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (32, 32))
    assert describe_clip(made).endswith(": 400 captioned train and 50 val pictures")


def test_each_thing_once_and_each_colour_twice_is_held_out_of_the_captions(made: Path) -> None:
    names = json.loads((made / "clip_zeroshot/id2label.json").read_text()).values()
    words = [set(text.rstrip(".").split()) for _, text in captions(made)[1:]]
    told = {n for n in names if any(set(n.split("_")) <= own for own in words)}
    missing = sorted(set(names) - told)
    assert missing == sorted(filter(held_out, names))
    assert sorted(name.split("_")[0] for name in missing) == sorted([*COLOURS, *COLOURS])
    assert sorted(name.split("_")[1] for name in missing) == sorted(THINGS)


def test_pictures_have_the_colour_that_their_captions_say(made: Path) -> None:
    """By the shares of the channels, which white and grey have alike."""
    paints = COLOURS | MORE_COLOURS
    for name, text in captions(made)[1:181]:
        with Image.open(made / "clip_zeroshot/train" / name) as picture:
            found = np.asarray(picture, dtype=np.float64).mean((0, 1))
        distance = {
            colour: np.linalg.norm(found / found.sum() - np.array(rgb) / sum(rgb))
            for colour, rgb in paints.items()
            if colour != "white"
        }
        said = next(word for word in text.rstrip(".").split() if word in paints)
        nearest = min(distance, key=distance.__getitem__)
        assert nearest == said.replace("white", "grey"), name


@pytest.mark.parametrize("thing", THINGS)
def test_no_pixel_is_in_train_and_val(thing: str) -> None:
    shown = {}
    for split in ("train", "val"):
        shown[split] = np.zeros(grey(thing).shape, bool)
        for index in range(800):
            top, left, side = crop(scene_rng(0, split, index), thing, split)
            assert 32 <= side <= 64
            assert top // TILE == (top + side - 1) // TILE  # inside one tile
            assert left // TILE == (left + side - 1) // TILE
            shown[split][top : top + side, left : left + side] = True
    assert not (shown["train"] & shown["val"]).any()
    share = shown["val"].sum() / (shown["train"].sum() + shown["val"].sum())
    assert 0.1 < share < 0.3
    rows = {row // TILE for row in shown["val"].nonzero()[0]}
    assert len(rows) > 1  # spread over the photo


def test_crops_show_more_than_sky() -> None:
    assert not shows_something(np.full((32, 32), 200, np.float32))
    for thing in ("temple", "flower"):
        for index in range(200):
            square = crop(scene_rng(0, "train", index), thing, "train")
            assert shows_something(small(thing, *square))


def test_no_scene_is_black_and_colours_vary() -> None:
    drawn = [scene(0, "train", index, "white", "print") for index in range(20)]
    assert min(picture.min() for picture in drawn) >= 40
    shares = {round(float(picture[..., 0].mean() / picture[..., 2].mean()), 3) for picture in drawn}
    assert len(shares) > 10


def test_each_class_is_told_in_every_wording() -> None:
    for place in (0, 7):
        told = {caption_of(place + turn * len(SEEN)) for turn in range(len(TEMPLATES))}
        assert len(told) == len(TEMPLATES)


def test_the_colour_says_nothing_of_the_thing() -> None:
    one, other = (
        scene(1, "train", 7, colour, "gravel").astype(float)
        for colour in COLOURS
        if colour in ("blue", "grey")
    )
    for channel in range(3):
        ratio = COLOURS["blue"][channel] / COLOURS["grey"][channel]
        assert (
            np.abs(one[..., channel] - other[..., channel] * ratio).max() <= 1.5
        )  # both are rounded
    assert one.std() > 5


def test_seed_split_and_index_make_other_pictures() -> None:
    drawn = [
        scene(seed, split, index, "red", "brick").tobytes()
        for seed in (0, 1)
        for split in ("train", "val")
        for index in (0, 1)
    ]
    assert len(set(drawn)) == 8
    assert drawn[0] == scene(0, "train", 0, "red", "brick").tobytes()


def test_val_pictures_of_one_thing_in_two_colours_are_not_one_crop() -> None:
    red, yellow = (
        val_scene(0, CLASSES.index((colour, "print")), 0)[..., 0].ravel()
        for colour in ("red", "yellow")
    )
    assert np.corrcoef(red, yellow)[0, 1] < 0.9


def test_the_job_refuses_before_it_makes_digits(copied: Path) -> None:
    with pytest.raises(ConfigError, match="num_train: 400 there, 401 here"):
        main(PrepareDataConfig(out=copied, seed=SEED, num_clip_train=401, num_clip_val=VAL))
    assert [path.name for path in copied.iterdir()] == ["clip_zeroshot"]
