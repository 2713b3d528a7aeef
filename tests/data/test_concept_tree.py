"""The captioned pictures and the concepts of the offline tree."""

import json
import re
import shutil
from pathlib import Path

import numpy as np

from hw2.data.concept_tree import CONCEPTS, write_concepts
from hw2.data.concepts import concept_pictures, read_concepts
from hw2.data.offline.compositions import (
    COLOURS_USED,
    KEPT_OUT,
    STYLES,
    THINGS_USED,
    composition,
    styled,
)
from hw2.data.offline.concepts import concept_picture


def test_training_shows_no_concept() -> None:
    """Neither the words nor the photos, palettes and tints of what is kept out."""
    spoken = [composition(0, index).caption for index in range(700)]
    words = {word for caption in spoken for word in re.findall(r"[a-z]+", caption)}
    assert words & {*KEPT_OUT, "coin", "flowers"} == set()
    assert words >= {*THINGS_USED, *COLOURS_USED, *STYLES, "next", "style"}
    assert set(KEPT_OUT) & set(THINGS_USED) == set()


def test_compositions_show_what_their_captions_say() -> None:
    kinds = {"next to": 0, "in the style of": 0, "single": 0}
    for index in range(210):
        pixels, caption = composition(1, index)
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
        kind = next((kind for kind in kinds if kind in caption), "single")
        kinds[kind] += 1
        assert np.array_equal(pixels, composition(1, index).pixels)
        if kind == "in the style of":
            palette = np.array(STYLES[caption.split()[-1]].palette)
            low, high = palette.min(0), palette.max(0)
            assert (pixels >= low).all() and (pixels <= high).all()
    assert kinds == {"single": 90, "next to": 60, "in the style of": 60}


def test_a_pair_stands_in_the_order_of_its_caption() -> None:
    """By the shares of the channels in each half, which white and grey have alike."""
    right = []
    for index in range(3, 1400, 7):
        pixels, caption = composition(2, index)
        told = [word for word in caption.split() if word in COLOURS_USED]
        if len({*told, "white", "grey"}) < 4:
            continue
        shares = [np.array(COLOURS_USED[colour]) / sum(COLOURS_USED[colour]) for colour in told]
        left = pixels[:, :32].astype(float).mean((0, 1))
        away = [np.linalg.norm(left / left.sum() - share) for share in shares]
        right.append(away[0] < away[1])
    assert len(right) > 20 and np.mean(right) > 0.9


def test_colours_are_told_of_about_half_the_single_things_and_of_no_style() -> None:
    spoken = [composition(0, index).caption for index in range(700)]
    coloured = [any(word in COLOURS_USED for word in caption.split()) for caption in spoken]
    styles = ["style" in caption for caption in spoken]
    assert not any(colour and style for colour, style in zip(coloured, styles, strict=True))
    single = [colour for index, colour in enumerate(coloured) if index % 7 < 3]
    assert 0.4 < np.mean(single) < 0.6


def test_style_of_blocks_and_levels() -> None:
    light = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    found = styled(light, STYLES["pixels"])
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= 5
    assert (found.reshape(16, 4, 16, 4, 3) == found[::4, ::4].reshape(16, 1, 16, 1, 3)).all()
    assert len(np.unique(styled(light, STYLES["ink"]).reshape(-1, 3), axis=0)) == 2


def test_concepts_are_read_as_the_course_has_them(tmp_path: Path) -> None:
    write_concepts(tmp_path, 0)
    folder = tmp_path / "textual_inversion"
    found = read_concepts(folder / "input.json")
    assert list(found) == ["0", "1", "2"]
    assert [one.kind for one in found.values()] == ["object", "style", "object"]
    for source, one in found.items():
        pictures = concept_pictures(one, 64)
        assert pictures.shape == (5, 3, 64, 64)
        drawn = np.stack([concept_picture(0, int(source), index) for index in range(5)])
        wrong = np.abs(pictures.movedim(1, -1).numpy().astype(int) - drawn)
        assert wrong.mean() < 4  # JPEG
        assert all(one.token_name in prompt for prompt in one.prompts)
    keys = {"src_image", "token_name", "prompt", "prompt_4_clip_eval", "baseline"}
    plain = {
        source: {key: entry[key] for key in keys}
        for source, entry in json.loads((folder / "input.json").read_text()).items()
    }
    shutil.copytree(folder, tmp_path / "course")
    (tmp_path / "course/input.json").write_text(json.dumps(plain))
    course = read_concepts(tmp_path / "course/input.json")
    assert course["0"].initializer_token is None and course["0"].kind is None
    assert course["0"].content_hash == found["0"].content_hash != found["1"].content_hash
    assert all(CONCEPTS[source]["token_name"] == one.token_name for source, one in course.items())
