"""Textual inversion on a tiny pipeline: only the row moves, and diffusers reads what is saved."""

import copy
import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from hw2.errors import ConfigError
from hw2.events import Saved
from hw2.figures.grid import sheet
from hw2.models.text2image import Text2Image
from hw2.personalize.inversion import (
    EMBEDDING,
    inversion_inputs,
    inversion_training,
    learnt_rows,
    write_embedding,
)
from hw2.personalize.report import report_training
from hw2.runlog.tracker import Tracker
from hw2.settings.personalize import TextualInversionConfig
from hw2.text2image.drawing import draw
from hw2.text2image.loading import load_stable_diffusion
from tests.in_process import final, run_bare
from tests.personalize.small_input import SAMPLE, TRAIN, write_input
from tests.personalize.tiny import tiny_pipeline_folder

LONG = SAMPLE.model_copy(update={"negative_prompt": "cup " * 30})
ROWS = "text_encoder.embeddings.token_embedding.rows"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TextualInversionConfig:
    folder = tmp_path_factory.mktemp("inversion")
    return TextualInversionConfig(
        out=folder / "unused",
        model=str(tiny_pipeline_folder(folder / "pipeline")),
        input=write_input(folder / "concepts"),
        templates="plain_object",
        train=TRAIN,
        sample=SAMPLE,
    )


def test_only_the_row_moves_from_the_initialisers(
    config: TextualInversionConfig, tmp_path: Path
) -> None:
    training = inversion_training(config, tmp_path)
    base = load_stable_diffusion(config.model)
    start = base.token_table.weight[base.tokenizer("cat").input_ids[1]]
    assert torch.equal(dict(training.net.named_parameters())[ROWS][0], start)
    assert isinstance(training.net, Text2Image)
    run_bare(training)

    before = {f"unet.{k}": v for k, v in base.unet.state_dict().items()}
    before |= {f"text_encoder.{k}": v for k, v in base.text_encoder.state_dict().items()}
    for name, value in training.net.state_dict().items():
        if name == ROWS:
            assert float((value[0] - start).abs().max()) > 0.01
        else:
            key = name.replace("token_embedding.table", "token_embedding")
            assert torch.equal(value, before[key]), name
    # Neither the table nor anything else is stored.
    kept = load_file(final(training))
    assert set(kept) == {f"net.{ROWS}", f"ema.{ROWS}"}
    assert torch.equal(learnt_rows(final(training)), kept[f"ema.{ROWS}"])
    assert not torch.equal(kept[f"net.{ROWS}"], kept[f"ema.{ROWS}"])

    embedding = write_embedding(final(training), tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(config.model, dtype=torch.float32)
    pipeline.load_textual_inversion(tmp_path / EMBEDDING)
    number = pipeline.tokenizer.convert_tokens_to_ids("<new1>")
    theirs = pipeline.text_encoder.get_input_embeddings().weight[number]
    assert embedding.token == "<new1>" and torch.equal(theirs, learnt_rows(final(training))[0])


def test_the_report_tells_the_error_before_and_after(
    config: TextualInversionConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_bare(inversion_training(config, tmp_path))
    training = inversion_training(config, tmp_path)
    before = training.evaluate(training.net)["eval/loss"]
    with Tracker(tmp_path, "", None, owner=False) as tracker:
        report_training(training, tracker)
    assert capsys.readouterr().err.endswith("measuring, before and after: 128/128 samples \n")
    after = training.evaluate(training.net)["eval/loss"]  # of the averages, which it loads
    told = json.loads((tmp_path / "metrics.json").read_text())
    values = [told[f"eval/loss{end}"]["value"] for end in ("_untrained", "", "_change")]
    assert before != after and values == pytest.approx([before, after, after - before], rel=1e-4)


def test_what_takes_long_beside_the_steps_is_told(
    config: TextualInversionConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told(seconds: float) -> list[str]:
        monkeypatch.setattr("hw2.progress.AT_ONCE_SECONDS", seconds)
        training = inversion_training(config, tmp_path)
        training.evaluate(training.net)
        training.show(Saved(3, training.net))
        return capsys.readouterr().err.split(" \n")[:-1]

    steps = SAMPLE.num_inference_steps * len(inversion_training(config, tmp_path).show.args[2])
    assert told(0.0) == [
        "encoding: 6/6 pictures",
        "measuring: 64/64 samples",
        f"drawing the sheet: {steps}/{steps} steps",
    ]
    assert told(3600.0) == []


def test_the_sheet_is_drawn_from_the_averages(
    config: TextualInversionConfig, tmp_path: Path
) -> None:
    training = inversion_training(config, tmp_path)
    averaged = copy.deepcopy(training.net)
    dict(averaged.named_parameters())[ROWS].data.neg_()
    own, other = (training.show(Saved(3, net)) for net in (training.net, averaged))
    assert own.size == other.size and own.tobytes() != other.tobytes()


def test_the_sheet_has_each_prompt_as_often_as_asked(
    config: TextualInversionConfig, tmp_path: Path
) -> None:
    asked = {"num_shown": 2, "prompts": ("a <new1>", "a cat beside <new1>")}
    training = inversion_training(config.model_copy(update=asked), tmp_path)
    _, model, prompts = training.show.args
    rows = [draw(model, [text] * 2, SAMPLE, indices=range(2), seed=0) for text in prompts]
    want = sheet(torch.stack(rows), asked["prompts"], title="step 3, w=1")
    assert training.show(Saved(3, training.net)).tobytes() == want.tobytes()


def test_another_seed_has_other_noises(config: TextualInversionConfig, tmp_path: Path) -> None:
    first, other = (
        inversion_training(config.model_copy(update={"seed": seed}), tmp_path) for seed in (0, 7)
    )
    assert (other.seed, other.meta["seed"], other.source.seed) == (7, 7, 7)
    assert first.evaluate(first.net) != other.evaluate(first.net)
    shown = [of.show(Saved(3, first.net)).tobytes() for of in (first, other)]
    assert shown[0] != shown[1]


def test_a_token_of_another_name_stands_in_the_prompts(
    config: TextualInversionConfig, tmp_path: Path
) -> None:
    training = inversion_training(config.model_copy(update={"token_name": "<mine>"}), tmp_path)
    assert training.show.args[-1] == ["a photo of a <mine>"]


def test_another_word_to_start_from_is_another_training(config: TextualInversionConfig) -> None:
    cat, dog = (
        inversion_inputs(config.model_copy(update={"initializer_token": word}))
        for word in ("cat", "dog")
    )
    assert {key for key in cat if cat[key] != dog[key]} == {"captions"}


def test_a_caption_that_would_be_cut_is_refused(
    config: TextualInversionConfig, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text(f"a photo of a {{}}\n{'car ' * 30}{{}}\n")
    with pytest.raises(ConfigError, match=r"^prompt='car .* is 33 tokens .* reads 24"):
        inversion_inputs(config.model_copy(update={"templates": str(tmp_path / "mine.txt")}))


def test_resuming_is_bit_equal(config: TextualInversionConfig, tmp_path: Path) -> None:
    for name, steps in (("whole", [6]), ("cut", [3, 6])):
        for count in steps:
            longer = config.train.model_copy(update={"num_steps": count, "decay": "none"})
            run_bare(
                inversion_training(config.model_copy(update={"train": longer}), tmp_path / name)
            )
            if count == 3:
                (tmp_path / name / "final.safetensors").unlink()
    ends = [(tmp_path / name / "final.safetensors").read_bytes() for name in ("whole", "cut")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token_name": "cat"}, "token_name='cat' is already in the vocabulary"),
        ({"initializer_token": "motorcycle helmet"}, "is 2 tokens .motorcycle, helmet."),
        ({"prompts": ("a <new2>",)}, "<new2> is no token: did you mean <new1>"),
        ({"sample": LONG}, r"^sample\.negative_prompt='cup .* is 32 tokens .* reads 24"),
        ({"source": "9"}, "source=9|sources=9|'9'"),
        ({"templates": "objects"}, "templates=objects: no such set"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    config: TextualInversionConfig, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        inversion_inputs(config.model_copy(update=changes))


def test_a_concept_without_a_word_to_start_from_is_refused(
    config: TextualInversionConfig, tmp_path: Path
) -> None:
    record = write_input(tmp_path)
    record.write_text(record.read_text().replace('"initializer_token"', '"kind_of_word"'))
    other = config.model_copy(update={"input": record})
    with pytest.raises(ConfigError, match=f"source 0: {record} names no initializer_token: add it"):
        inversion_inputs(other)


def test_a_prompt_that_does_not_name_the_concept_is_told(
    config: TextualInversionConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inversion_inputs(config)
    assert capsys.readouterr().err == ""
    record = write_input(tmp_path)
    record.write_text(record.read_text().replace("a photo of a <new1>", "a photo of a coin"))
    inversion_inputs(config.model_copy(update={"input": record}))
    told = "warning: source 0: prompt 'a photo of a coin' of input.json does not name <new1>: its"
    assert capsys.readouterr().err == f"{told} pictures do not show the concept\n"
