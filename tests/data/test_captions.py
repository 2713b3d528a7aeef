"""Reading captioned and classified pictures, in a tree made by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from hw2.data.captions import clip_folder, read_captions, read_classes
from hw2.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
CAPTIONS = ["a photo of a cat.", "dogs, two of them", "a photo of a cat.", "a cow"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four captioned pictures; four of classes 0, 10, 2, 10, the last of another size."""
    folder = tmp_path / "clip_zeroshot"
    (folder / "train").mkdir(parents=True)
    (folder / "val").mkdir()
    table = "image_name,caption\n"
    for number, (pixels, text) in enumerate(zip(PIXELS, CAPTIONS, strict=True)):
        Image.fromarray(pixels).save(folder / f"train/{number:05d}.png")
        table += f'{number:05d}.png,"{text}"\n'
    (folder / "train.csv").write_text(table)
    for pixels, name in zip(PIXELS, ("0_0", "10_0", "2_7", "10_1"), strict=True):
        Image.fromarray(pixels).resize((32 + 8 * (name == "10_1"),) * 2).save(
            folder / f"val/{name}.png"
        )
    names = {str(label): f"thing_{label}" for label in range(11)}
    (folder / "id2label.json").write_text(json.dumps(names))
    return tmp_path


def test_captions_and_pictures_belong_together(tree: Path) -> None:
    found = read_captions(clip_folder(tree), 32)
    assert found.captions == tuple(CAPTIONS)
    np.testing.assert_array_equal(found.images.permute(0, 2, 3, 1).numpy(), PIXELS)
    assert found.bad == ()
    table = tree / "clip_zeroshot/train.csv"
    table.write_text(table.read_text().replace("a cow", "a crow"))
    assert read_captions(clip_folder(tree), 32).content_hash != found.content_hash


def test_blanks_around_the_cells_do_not_count(tree: Path) -> None:
    found = read_captions(clip_folder(tree), 32)
    table = tree / "clip_zeroshot/train.csv"
    spaced = table.read_text().replace("00003.png,", " 00003.png ,").replace('a cow"', 'a cow "')
    table.write_text(spaced)
    assert read_captions(clip_folder(tree), 32).content_hash == found.content_hash


def test_labels_come_from_the_file_names(tree: Path) -> None:
    (tree / "clip_zeroshot/val/.0_1.png").touch()
    found = read_classes(tree, 32)
    assert found.labels.tolist() == [0, 10, 10, 2]
    assert found.names == tuple(f"thing_{label}" for label in range(11))
    np.testing.assert_array_equal(found.images[3].permute(1, 2, 0).numpy(), PIXELS[2])
    assert found.images.shape == (4, 3, 32, 32)
    (tree / "clip_zeroshot/val/2_7.png").rename(tree / "clip_zeroshot/val/3_7.png")
    moved = read_classes(tree, 32)
    assert moved.content_hash != found.content_hash
    names = tree / "clip_zeroshot/id2label.json"
    names.write_text(names.read_text().replace("thing_3", "another"))
    assert read_classes(tree, 32).content_hash != moved.content_hash


def test_photographs_of_concepts_are_upright_and_cut_to_their_middle(tree: Path) -> None:
    wide = np.concatenate([PIXELS[0], PIXELS[1][:, :16]], axis=1)  # 48 x 32
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # which is shown turned to the right
    turned = Image.fromarray(wide).transpose(Image.Transpose.ROTATE_90)
    turned.save(tree / "clip_zeroshot/train/00000.png", exif=exif)
    found = read_captions(clip_folder(tree), 32, as_concepts=True)
    np.testing.assert_array_equal(found.images[0].permute(1, 2, 0).numpy(), wide[:, 8:40])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("00009.png,a cow", "00009.png: the file is missing"),
        ("../val/0_0.png,a cow", "'../val/0_0.png' is not the name of a file in"),
        ("00000.png", "the row needs two columns, file name and caption"),
        ("00000.png, ", "the row needs two columns, file name and caption"),
        ("torn.png,a cow", "torn.png: not a picture"),
        ("00000.png,a cow, asleep", "has 3 cells, the header 2: put the caption in quotes"),
    ],
)
def test_bad_rows_are_refused_or_left_out(row: str, said: str, tree: Path) -> None:
    table = tree / "clip_zeroshot/train.csv"
    (tree / "clip_zeroshot/train/torn.png").write_bytes(b"nothing")
    table.write_text(table.read_text() + row + "\n")
    with pytest.raises(DataError) as raised:
        read_captions(clip_folder(tree), 32)
    assert str(raised.value).startswith(f"{table}:6: {said}")
    with pytest.raises(DataError, match=f"^{re.escape(f'{table}:6: {said}')}.*: mend it, or take"):
        read_captions(clip_folder(tree), 32, as_concepts=True)  # no --data.skip_bad there
    found = read_captions(clip_folder(tree), 32, skip_bad=True)
    assert found.captions == tuple(CAPTIONS)
    assert [bad.line for bad in found.bad] == [6]


def test_a_quote_that_is_not_closed_swallows_no_rows(tree: Path) -> None:
    table = tree / "clip_zeroshot/train.csv"
    table.write_text(table.read_text().replace('00002.png,"a photo of a cat."', '00002.png,"a cat'))
    with pytest.raises(DataError) as raised:
        read_captions(clip_folder(tree), 32)
    assert str(raised.value).startswith(
        f"{table}:5: its caption 'a cat\\n00003.png,a cow\"' goes over several lines: close its "
        "quotes, or write it in one line"
    )
    found = read_captions(clip_folder(tree), 32, skip_bad=True)
    assert (found.captions, [bad.line for bad in found.bad]) == (tuple(CAPTIONS[:2]), [5])


def test_columns_behind_the_caption_may_be_there(tree: Path) -> None:
    table = tree / "clip_zeroshot/train.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},by", *(f"{row},me" for row in rows)]))
    assert read_captions(clip_folder(tree), 32).captions == tuple(CAPTIONS)
    table.write_text("\n".join([header, *(f"{row}, ," for row in rows)]))  # which cuts nothing
    assert read_captions(clip_folder(tree), 32).captions == tuple(CAPTIONS)
    table.write_text("\n".join(["image_name", "", *rows, "", ""]))  # a header of one, empty lines
    assert read_captions(clip_folder(tree), 32).captions == tuple(CAPTIONS)


@pytest.mark.parametrize("name", ["11_0.png", "x_0.png", "notes.txt", "-1_0.png", "\u00b2_0.png"])
def test_misnamed_pictures_are_refused_or_left_out(name: str, tree: Path) -> None:
    path = tree / "clip_zeroshot/val" / name
    Image.fromarray(PIXELS[0]).save(path, "PNG")
    with pytest.raises(DataError, match=r"its name has no class 0\.\.10 before a _"):
        read_classes(tree, 32)
    found = read_classes(tree, 32, skip_bad=True)
    assert len(found.labels) == 4
    assert str(found.bad[0]).startswith(f"{path}: its name has no class")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"1": "a"}', "its ids are 1: want names by label from 0 on"),
        ('{"0": "a", "2": "b"}', "its ids are 0, 2: want names by label"),
        ('{"zero": "a"}', "its ids are zero: want names by label"),
    ],
)
def test_broken_names_are_refused(text: str, said: str, tree: Path) -> None:
    path = tree / "clip_zeroshot/id2label.json"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(said)) as refused:
        read_classes(tree, 32)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_table_without_a_header_does_not_lose_its_first_row(tree: Path) -> None:
    table = tree / "clip_zeroshot/train.csv"
    table.write_text(table.read_text().partition("\n")[2])
    with pytest.raises(DataError, match=r"train.csv:1: the header is missing: put a line `image_"):
        read_captions(clip_folder(tree), 32, skip_bad=True)


@pytest.mark.parametrize(
    ("content", "said"), [(b"x" * 200_000, "2: not a CSV "), (b"\xff", " not text in UTF-8 ")]
)
def test_a_table_that_is_no_text_is_refused(content: bytes, said: str, tree: Path) -> None:
    table = tree / "clip_zeroshot/train.csv"
    table.write_bytes(b"image_name,caption\n" + content)
    with pytest.raises(DataError, match=f"^{table}:{said}"):
        read_captions(clip_folder(tree), 32, skip_bad=True)


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    for read in (read_captions, read_classes):
        with pytest.raises(DataError, match=r"cannot be read.*jobs\.prepare_data"):
            read(tmp_path, 32)
    with pytest.raises(DataError, match=r"point --prior\.folder at such a folder, or run"):
        read_captions(tmp_path, 32, as_concepts=True)
    (tmp_path / "clip_zeroshot").mkdir()
    (tmp_path / "clip_zeroshot/train.csv").write_text("image_name,caption\n")
    with pytest.raises(DataError, match="holds no usable row"):
        read_captions(tmp_path / "clip_zeroshot", 32)
    (tmp_path / "clip_zeroshot/id2label.json").write_text('["cat"]')
    with pytest.raises(DataError, match=r"val: no such folder of pictures: .*jobs\.prepare_data"):
        read_classes(tmp_path, 32)
    (tmp_path / "clip_zeroshot/val").mkdir()
    with pytest.raises(DataError, match=r"val: holds no pictures: .*jobs\.prepare_data"):
        read_classes(tmp_path, 32)
