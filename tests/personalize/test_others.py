"""Custom Diffusion that others trained: files of diffusers' own code, and of the authors' form."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor
from torch.testing import assert_close

from hw2.errors import CheckpointError
from hw2.personalize.deltas import (
    Deltas,
    apply_weights,
    base_hash,
    cross_attention_weights,
    save_deltas,
)
from hw2.personalize.others import DELTA, PICKLED_WEIGHTS
from hw2.personalize.ways import read_ways
from hw2.settings.personalize import GenerateConceptsConfig
from hw2.text2image.model import StableDiffusion
from tests.personalize.tiny import WIDTH, predicted, tiny_model

ROW = torch.arange(float(WIDTH))


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    """Not to be changed."""
    return tiny_model()


def with_processors(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same with keys and values of their own in diffusers' processors, at random."""
    changed, processors = copy.deepcopy(unet), {}
    torch.manual_seed(3)
    for name in changed.attn_processors:
        layer = changed.get_submodule(name.removesuffix(".processor"))
        own = ".attn2." in name
        processors[name] = CustomDiffusionAttnProcessor(
            train_kv=own, train_q_out=False, hidden_size=layer.to_k.out_features,
            cross_attention_dim=WIDTH if own else None,
        )  # fmt: skip
    changed.set_attn_processor(processors)
    return changed


def joint(model: StableDiffusion, place: Path) -> Any:
    return read_ways(GenerateConceptsConfig(out="out", joint=place), model, {})["joint"]


@pytest.mark.parametrize("safe", [False, True], ids=["pickled", "safetensors"])
def test_what_diffusers_saved(
    safe: bool, model: StableDiffusion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = with_processors(model.unet)
    theirs.save_attn_procs(tmp_path, safe_serialization=safe)
    torch.save({"<new1>": ROW}, tmp_path / "<new1>.bin")  # as their script does
    if safe:  # and the same pickled too
        theirs.save_attn_procs(tmp_path, safe_serialization=False)
    found = joint(model, tmp_path)
    assert "does not tell its base model: taken to be --model" in capsys.readouterr().err
    assert found.rows.keys() == {"<new1>"} and torch.equal(found.rows["<new1>"], ROW)
    ours = copy.deepcopy(model.unet)
    apply_weights(ours, found.weights)
    assert_close(predicted(ours), predicted(theirs), rtol=0, atol=1e-5)
    assert (predicted(ours) - predicted(model.unet)).abs().max() > 1e-2


def test_both_forms_in_one_folder(model: StableDiffusion, tmp_path: Path) -> None:
    for safe in (False, True):
        with_processors(model.unet).save_attn_procs(tmp_path, safe_serialization=safe)
    torch.save({"<new1>": ROW}, tmp_path / "<new1>.bin")
    assert joint(model, tmp_path).rows.keys() == {"<new1>"}


@pytest.mark.parametrize("place", ["", DELTA, "cat.bin"])
def test_the_authors_file(place: str, model: StableDiffusion, tmp_path: Path) -> None:
    moved = {k: w.detach().half() + 1 for k, w in cross_attention_weights(model.unet).items()}
    torch.save({"unet": moved, "modifier_token": {"<new1>": ROW}}, tmp_path / (place or DELTA))
    (tmp_path / "other.bin").write_bytes(b"another's")
    found = joint(model, tmp_path / place)
    assert found.rows.keys() == {"<new1>"} and torch.equal(found.rows["<new1>"], ROW)
    assert all(torch.equal(found.weights[name], weight.float()) for name, weight in moved.items())


@pytest.mark.parametrize("rank", [None, 4])
def test_weights_of_this_project_go_first(
    rank: int | None, model: StableDiffusion, tmp_path: Path
) -> None:
    base = {name: weight.detach() for name, weight in cross_attention_weights(model.unet).items()}
    own = Deltas(base_hash(model.unet, model.text_encoder), base, {"<own>": ROW}, {"step": 1})
    save_deltas(tmp_path, own, base, rank)
    for name in (DELTA, PICKLED_WEIGHTS):
        (tmp_path / name).write_bytes(b"another's")
    assert joint(model, tmp_path).rows.keys() == {"<own>"}


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made",)


@pytest.mark.timeout(60)
def test_a_long_name_is_not_looked_through_from_each_of_its_places(
    model: StableDiffusion, tmp_path: Path
) -> None:
    torch.save({"n" * 10**6: ROW}, tmp_path / PICKLED_WEIGHTS)
    torch.save({"<new1>": ROW}, tmp_path / "<new1>.bin")
    with pytest.raises(CheckpointError, match="weights do not fit: missing"):
        joint(model, tmp_path)


def test_what_is_refused(
    model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {k: w.detach() for k, w in cross_attention_weights(model.unet).items()}
    first, *rest = weights
    rows = {"<new1>": ROW}
    queries = {**weights, first.replace("to_k", "to_q"): weights[first]}
    cases: list[tuple[Any, str]] = [
        ({"unet": {k: weights[k] for k in rest}, "modifier_token": rows}, f"missing {first}"),
        ({"unet": queries, "modifier_token": rows}, r"unknown .*to_q"),
        ({"unet": {**weights, first: weights[first] * torch.nan}, "modifier_token": rows}, "nan"),
        ({"unet": {**weights, first: 3}, "modifier_token": rows}, "no whole weights"),
        ({"unet": {**weights, first: weights[first].long()}, "modifier_token": rows}, "want float"),
        ({"modifier_token": rows}, "no whole weights"),
        ({"unet": weights}, "no token there"),
        ({"unet": weights, "modifier_token": rows, "text_encoder": {}}, "brings text_encoder too"),
        ({"unet": weights, "modifier_token": {}}, "no token there: put its file"),
        ({"unet": weights, "modifier_token": 3}, "no table of tokens and rows"),
        ({"unet": weights, "modifier_token": {"<new1>": ROW[1:]}}, f"{WIDTH - 1} numbers"),
        ({"unet": weights, "modifier_token": rows, "x": _Code()}, r"holds .*mkdir"),
        ({"unet": weights, "modifier_token": {"<\ud800>": ROW}}, r"its token <\\ud800> is no text"),
        ([1], "want a table of names and tensors"),
        ({"unet": {first: weights[first].to_sparse()}, "modifier_token": rows}, "kind sparse"),
    ]
    for content, told in cases:
        torch.save(content, DELTA)
        with pytest.raises(CheckpointError, match=told):
            joint(model, tmp_path)
    assert not Path("made").exists()
    Path(DELTA).write_bytes(Path(DELTA).read_bytes()[:200])
    with pytest.raises(CheckpointError, match="not a torch file, or a torn one"):
        joint(model, tmp_path)
    Path(DELTA).unlink()
    with_processors(model.unet).save_attn_procs(tmp_path, safe_serialization=False)
    with pytest.raises(CheckpointError, match=f"{PICKLED_WEIGHTS}: no token there: put its file"):
        joint(model, tmp_path)
