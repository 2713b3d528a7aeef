"""What is drawn of concepts: prompts by way, chunks in full, each picture from its own noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hw2.data.concepts import Concept, concept_pictures, read_concepts
from hw2.errors import ConfigError
from hw2.figures.grid import sheet
from hw2.personalize.deltas import Deltas
from hw2.personalize.generated import find_together
from hw2.personalize.generating import (
    check_prompts,
    hashes_of_prompts,
    make_worker,
    picture_path,
    pieces_to_draw,
    prompts_to_draw,
    write_prompts,
)
from hw2.personalize.sheets import write_sheets
from hw2.personalize.ways import Ways
from hw2.settings.personalize import GenerateConceptsConfig
from tests.personalize.small_input import write_input
from tests.personalize.tiny import WIDTH, tiny_model, tiny_pipeline_folder

BOTH, OTHER = "a <new1> next to a <new2>", "a <new2> on a <new1>"


def settings(root: Path, **more: object) -> GenerateConceptsConfig:
    few = {"num_inference_steps": 2, "precision": "fp32", "untrained": True, "out": root / "out"}
    return GenerateConceptsConfig.model_validate(few | more)


def rows(*tokens: str) -> Deltas:
    return Deltas("", {}, {token: torch.ones(WIDTH) for token in tokens}, {})


def concept(source: str, token: str) -> Concept:
    return Concept(source, (), token, (f"a photo of a {token}",), (), ())


CONCEPTS = {"0": concept("0", "<new1>"), "1": concept("1", "<new2>")}
WAYS: Ways = {"separate": rows("<new1>", "<new2>"), "joint": rows("<new1>", "<new2>")}


def test_a_concept_is_drawn_in_the_first_way_and_several_in_each(tmp_path: Path) -> None:
    config = settings(tmp_path, together=(BOTH,))
    prompts = prompts_to_draw(config, WAYS, CONCEPTS)
    assert [(piece["way"], piece["prompt"]) for piece in prompts] == [
        *(("separate", f"a photo of a <new{n}>") for n in (1, 2)),
        *((way, BOTH) for way in WAYS),
    ]
    other = prompts_to_draw(config, {"joint": WAYS["joint"]}, CONCEPTS)
    one, two = hashes_of_prompts(prompts), hashes_of_prompts(other)
    assert {key for key in two if one[key] != two[key]} == {"first_way"}


def test_concepts_that_cannot_be_told_apart_or_were_not_learnt_are_refused(tmp_path: Path) -> None:
    shared = {"0": CONCEPTS["0"], "1": concept("1", "<new1>")}
    with pytest.raises(ConfigError, match="sources 0 and 1 are both called <new1>"):
        prompts_to_draw(settings(tmp_path), WAYS, shared)
    told = r"sources=1: its <new2> is not in the joint files, which .* name it so in input.json"
    with pytest.raises(ConfigError, match=told):
        prompts_to_draw(settings(tmp_path), {"joint": rows("<new1>")}, CONCEPTS)


def test_a_prompt_must_be_read_whole_in_its_own_way(tmp_path: Path) -> None:
    ways = {"separate": WAYS["separate"], "joint": rows("<new1>")}
    prompts = prompts_to_draw(settings(tmp_path, together=(BOTH,)), ways, CONCEPTS)
    check_prompts(tiny_model(), prompts[:-1], ways, "a cup")
    with pytest.raises(ConfigError, match=r"^joint: prompt=.*: <new2> is no token: .*are <new1>$"):
        check_prompts(tiny_model(), prompts, ways, "a cup")
    with pytest.raises(ConfigError, match=r"^negative_prompt=.* is 32 tokens .* reads 24"):
        check_prompts(tiny_model(), prompts[:-1], ways, "cup " * 30)


def test_a_chunk_is_drawn_in_full_and_each_picture_from_its_own_noise(tmp_path: Path) -> None:
    model = str(tiny_pipeline_folder(tmp_path / "pipeline"))
    drawn = []
    for count, size in ((3, 2), (3, 4), (4, 4)):
        config = settings(tmp_path, model=model, num_pictures=count, pictures_per_chunk=size)
        prompts = prompts_to_draw(config, {"joint": rows("<new1>")}, {"0": CONCEPTS["0"]})
        pieces, done = pieces_to_draw(config, prompts, tmp_path / "out")
        assert done == 0 and [len(piece["texts"]) for piece in pieces] == [size] * len(pieces)
        work = make_worker(config, {"joint": rows("<new1>")})(False)
        drawn.append(np.concatenate([work(piece)["pictures"] for piece in pieces])[:3])
    assert len({picture.tobytes() for picture in drawn[0]}) == 3
    assert np.array_equal(drawn[1], drawn[2])
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() <= 1  # but for the last bits


def test_the_grader_is_told_the_prompts_and_the_order_of_the_ways(tmp_path: Path) -> None:
    config = settings(tmp_path, together=(BOTH,))
    write_prompts(config, {"separate": WAYS["separate"], "joint": WAYS["joint"]}, tmp_path)
    for piece in prompts_to_draw(config, WAYS, CONCEPTS)[2:]:
        path = tmp_path / f"{piece['stem']}_0.png"
        path.parent.mkdir(parents=True)
        path.touch()
    (found,) = find_together(tmp_path, CONCEPTS)
    assert (found.prompt, list(found.ways)) == (BOTH, ["separate", "joint"])


@pytest.mark.parametrize("count", [2, 6])
def test_sheets_have_the_first_pictures_of_each_prompt(tmp_path: Path, count: int) -> None:
    concepts = read_concepts(write_input(tmp_path / "concepts"))
    config = settings(tmp_path, num_pictures=count, together=(BOTH, OTHER), guidance_weight=3)
    random, stems = np.random.default_rng(0), {}
    for piece in prompts_to_draw(config, WAYS, concepts):
        pixels = random.integers(0, 256, (count, 20, 20, 3), np.uint8)
        for number, picture in enumerate(pixels):
            path = picture_path(tmp_path, piece["stem"], number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        stems[piece["way"], piece["prompt"]] = torch.from_numpy(pixels[:5]).movedim(-1, 1)
    paths = write_sheets(config, WAYS, concepts, tmp_path)
    assert [path.name for path in paths] == ["source0.png", "source1.png", "together.png"]
    wanted = []
    for token, concept in zip(("<new1>", "<new2>"), concepts.values(), strict=True):
        given = torch.full((min(count, 5), 3, 20, 20), 255, dtype=torch.uint8)
        given[:3] = concept_pictures(concept, 20)[:count]
        prompt = f"a photo of a {token}"
        rows = torch.stack([given, stems["separate", prompt]])
        wanted.append(sheet(rows, ["given", prompt], title=f"{token}, separate, w=3"))
    names = [(way, prompt) for prompt in (BOTH, OTHER) for way in WAYS]
    labels = [f"{way}: {prompt}" for way, prompt in names]
    title = "several concepts in one picture, w=3"
    wanted.append(sheet(torch.stack([stems[name] for name in names]), labels, title=title))
    for path, picture in zip(paths, wanted, strict=True):
        assert Image.open(path).tobytes() == picture.tobytes()
