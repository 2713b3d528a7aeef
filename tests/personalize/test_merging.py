"""Merging concepts of a tiny pipeline: what keeps, what takes a value, whatever the order."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hw2.errors import CheckpointError, ConfigError, DataError
from hw2.personalize.deltas import Deltas, cross_attention_weights, save_deltas
from hw2.personalize.merge_report import report_merge
from hw2.personalize.merging import (
    kept_features,
    merge_deltas,
    read_caption_texts,
    read_concepts_to_merge,
    renamed,
    target_features,
)
from hw2.personalize.personalizer import Personalizer
from hw2.runlog.tracker import Tracker
from hw2.text2image.model import StableDiffusion
from tests.personalize.tiny import learnt, tiny_model

CAPTIONS = ["a photo of a red car", "a cup next to a dog", "the street of a cat", "a painting"]
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return tiny_model()


@pytest.fixture(scope="module")
def concepts(model: StableDiffusion) -> list[Deltas]:
    return [learnt(model, "<new1>", 1), learnt(model, "<new2>", 2)]


def test_features_that_keep_end_with_the_first_end(model: StableDiffusion) -> None:
    features = kept_features(model, CAPTIONS[:2])
    tokens = model.tokens(CAPTIONS[:2])
    lengths = [row.tolist().index(model.tokenizer.eos_token_id) + 1 for row in tokens]
    assert len(features) == sum(lengths)
    with torch.no_grad():
        assert_close(features[: lengths[0]], model.features(tokens)[0, : lengths[0]])


def test_targets_are_the_token_and_what_follows(
    model: StableDiffusion, concepts: list[Deltas]
) -> None:
    personalizer = Personalizer(model)
    changed = personalizer.become(concepts[0])
    found = target_features(changed, concepts[0], 2)
    words = [name.split(" of ")[0] for name in found.names]
    assert words == ["<new1>", "<|endoftext|>", "<new1>", "on", "the", "street", "<|endoftext|>"]
    tokens = changed.tokens(["a photo of a <new1>"])
    with torch.no_grad():
        assert_close(found.features[:2], changed.features(tokens)[0, 5:7])
    personalizer.become(None)


def test_concepts_take_what_they_learnt_and_captions_move_less(
    model: StableDiffusion, concepts: list[Deltas]
) -> None:
    merged = merge_deltas(model, concepts, CAPTIONS, 1)
    assert merged.to_json()["worst_residual"] < 1e-6
    personalizer = Personalizer(model)
    for one in concepts:
        found = target_features(personalizer.become(one), one, 1).features
        for name, weight in merged.deltas.weights.items():
            assert_close(found @ weight.T, found @ one.weights[name].T, rtol=1e-4, atol=1e-5)
    kept = kept_features(personalizer.become(None), CAPTIONS)
    for name, weight in merged.deltas.weights.items():
        base = personalizer.weights[name]
        moved = (kept @ (weight - base).T).norm()
        alone = min((kept @ (one.weights[name] - base).T).norm() for one in concepts)
        assert float(moved) < 0.6 * float(alone)


def test_figures_are_those_of_all_layers(model: StableDiffusion, concepts: list[Deltas]) -> None:
    pairs = itertools.permutations(("car", "dog", "cat", "cup"), 2)
    captions = [f"a {one} next to a {other}" for one, other in pairs]  # nothing moves for nothing
    merged = merge_deltas(model, concepts, captions, 1)
    told, layers = merged.to_json(), merged.layers.values()
    for key in ("residual", "rounded_residual"):
        assert told[f"worst_{key}"] == max(getattr(layer, key) for layer in layers)
    kept, base = kept_features(model, captions), cross_attention_weights(model.unet)
    moved = [kept @ (w - base[name].detach()).T for name, w in merged.deltas.weights.items()]
    assert told["objective"] == pytest.approx(float(torch.cat(moved, dim=1).norm()), rel=1e-4)
    # One caption of each token, though there are two.
    ends = [f"{word} of 'a photo of a <new{n}>'" for n in (1, 2) for word in (f"<new{n}>", END)]
    assert told["targets"] == ends


def test_order_of_the_concepts_does_not_matter(
    model: StableDiffusion, concepts: list[Deltas]
) -> None:
    one = merge_deltas(model, concepts, CAPTIONS, 2).deltas
    other = merge_deltas(model, concepts[::-1], CAPTIONS, 2).deltas
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert set(one.rows) == set(other.rows)


def test_same_tokens_are_renamed(
    model: StableDiffusion, concepts: list[Deltas], tmp_path: Path
) -> None:
    again = renamed(concepts[1], ["<new1>"])
    weights = cross_attention_weights(model.unet)
    for place, one in enumerate([concepts[0], again]):
        save_deltas(tmp_path / str(place), one, weights)
    found = read_concepts_to_merge([tmp_path / "0", tmp_path / "1"], model)
    assert [list(one.rows) for one in found] == [["<new1>"], ["<new1_2>"]]
    assert found[1].about["captions"] == [["a photo of a <new1_2>", "<new1_2> on the street"]]
    assert torch.equal(found[1].rows["<new1_2>"], concepts[1].rows["<new2>"])


def test_a_concept_of_numbers_too_large_is_named(concepts: list[Deltas], tmp_path: Path) -> None:
    model = tiny_model()
    weights = cross_attention_weights(model.unet)
    name = next(iter(weights))
    numbers = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(1))
    # Products of one number each: no machine's order of adding up decides what is too large.
    column = torch.zeros(weights[name].shape)
    column[:, 24] = 3.3e38  # times the features 3.2e38, merged 3.5e38, which no float32 is
    bad = {
        f"{name} times its tokens' features": {"weights": {name: 6e37 * numbers}},
        f"{name}, merged,": {"weights": {name: column}},
        "what the text encoder makes of <new2>": {"rows": {"<new2>": torch.full((32,), 3e38)}},
    }
    save_deltas(tmp_path / "fine", concepts[0], weights)
    for place, (what, change) in enumerate(bad.items()):
        whole = {key: getattr(concepts[1], key) | of for key, of in change.items()}
        save_deltas(folder := tmp_path / str(place), replace(concepts[1], **whole), weights)
        found = read_concepts_to_merge([tmp_path / "fine", folder], model)
        with pytest.raises(CheckpointError, match=f"^{folder}: {what} holds nan or infinite"):
            merge_deltas(tiny_model(), found, CAPTIONS, 1)


def test_a_merge_of_tokens_in_any_order_is_merged_again(
    model: StableDiffusion, concepts: list[Deltas], tmp_path: Path
) -> None:
    weights = cross_attention_weights(model.unet)
    for place, pair in enumerate((concepts, concepts[::-1])):
        save_deltas(tmp_path / str(place), merge_deltas(model, pair, CAPTIONS, 1).deltas, weights)
        (found,) = read_concepts_to_merge([tmp_path / str(place)], model)
        assert list(found.rows) == [token for one in pair for token in one.rows]
        assert found.about["captions"] == [of for one in pair for of in one.about["captions"]]


@pytest.mark.parametrize(
    "captions",
    [
        3,
        "a",
        [3],
        ["<new1>"],
        [["<new1>"], ["<new1>"]],
        [[]],
        [[3]],
        [["no token"]],
        [["<new1> \ud800"]],
    ],
)
def test_captions_of_tokens_that_are_none(
    model: StableDiffusion, concepts: list[Deltas], captions: Any, tmp_path: Path
) -> None:
    weights = cross_attention_weights(model.unet)
    save_deltas(tmp_path, replace(concepts[0], about={"captions": captions}), weights)
    with pytest.raises(CheckpointError, match="does not say the captions of its tokens"):
        read_concepts_to_merge([tmp_path], model)


def test_a_caption_that_is_cut_before_its_token(
    model: StableDiffusion, concepts: list[Deltas]
) -> None:
    long = replace(concepts[0], about={"captions": [["car " * 10**4 + "<new1>"]]})
    personalizer = Personalizer(model)
    with pytest.raises(ConfigError, match=r"^caption='car .* tokens .* the text encoder reads"):
        target_features(personalizer.become(long), long, 1)
    personalizer.become(None)


def test_more_targets_than_dimensions(model: StableDiffusion) -> None:
    many = [learnt(model, f"<a{number}>", number) for number in range(5)]
    with pytest.raises(ConfigError, match=r"num_targets=2: 35 features .* the 32 dimensions"):
        merge_deltas(model, many, CAPTIONS, 2)


def test_captions_from_files(tmp_path: Path) -> None:
    lines = tmp_path / "captions.txt"
    lines.write_text("".join(f"caption {number}\n" for number in range(10)) + "\ncaption 3\n")
    assert read_caption_texts(lines, 4) == [f"caption {number}" for number in (0, 3, 6, 9)]
    table = tmp_path / "captions.csv"
    table.write_text('image_name,caption\na.png,"a cat, asleep"\nb.png,a dog\n')
    assert read_caption_texts(table, 200) == ["a cat, asleep", "a dog"]
    table.write_text("image_name,text\na.png,a cat\n")
    with pytest.raises(DataError, match="has no column caption"):
        read_caption_texts(table, 200)
    table.write_text("image_name,caption\na.png," + "x" * 2**18)
    with pytest.raises(DataError, match=r"captions\.csv:2: not a CSV \(field larger than"):
        read_caption_texts(table, 200)
    with pytest.raises(DataError, match=r"cannot be read .*--captions .*jobs\.prepare_data"):
        read_caption_texts(tmp_path / "nothing", 200)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a cat\na dog, asleep\n", "3: has 2 cells, the header 1: put the caption in quotes"),
        ('"a cat\na dog\n', r"3: its caption 'a cat\\na dog' goes over several lines: close its "),
    ],
)
def test_a_caption_that_is_cut_or_swallows_others_is_refused(
    rows: str, told: str, tmp_path: Path
) -> None:
    table = tmp_path / "captions.csv"
    table.write_text(f"caption\n{rows}")
    with pytest.raises(DataError, match=f"^captions={table}:{told}"):
        read_caption_texts(table, 200)


def test_captions_from_files_of_other_systems(tmp_path: Path) -> None:
    lines, table = tmp_path / "captions.txt", tmp_path / "CAPTIONS.CSV"
    lines.write_text("a cat\r\n", encoding="utf-8-sig")
    assert read_caption_texts(lines, 200) == ["a cat"]
    table.write_text("caption,image_name\na dog,a.png\n,b.png\n", encoding="utf-8-sig")
    assert read_caption_texts(table, 200) == ["a dog"]
    table.write_text("image_name,caption\na.png\nb.png,a cup\n")  # a row that ends early
    assert read_caption_texts(table, 200) == ["a cup"]
    for content, told in (
        (b"\xff\xfea", r"not text in UTF-8 \(.*\)"),
        (b"\n \n", "holds no caption"),
    ):
        lines.write_bytes(content)
        with pytest.raises(DataError, match=f"^captions={lines}: {told}$"):
            read_caption_texts(lines, 200)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"^captions=.*/pipe: it is not a regular file"):
        read_caption_texts(tmp_path / "pipe", 200)


def test_a_target_that_is_not_met_is_told_by_its_worst_layer(
    model: StableDiffusion, concepts: list[Deltas], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    merged = merge_deltas(model, concepts, CAPTIONS, 1)
    first, second, *_ = merged.layers
    misses = {first: 0.25, second: 0.5}
    layers = merged.layers | {
        name: replace(merged.layers[name], unmet=(2,), misses=(miss,))
        for name, miss in misses.items()
    }
    with Tracker(tmp_path, "", None, owner=False) as tracker:
        report_merge(replace(merged, layers=layers), tracker)
    told = [line for line in capsys.readouterr().out.splitlines() if "not met" in line]
    assert told == [f"not met: {merged.targets[2]}: by 5.0e-01 of its value in {second}"]
