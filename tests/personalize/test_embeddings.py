"""Files of embeddings: what diffusers loads, and what comes from elsewhere."""

import collections
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from hw2.errors import CheckpointError
from hw2.personalize.embeddings import (
    MAX_BYTES,
    TokenEmbedding,
    read_embeddings,
    save_embedding,
)
from tests.personalize.tiny import WIDTH, tiny_pipeline_folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    folder = tiny_pipeline_folder(tmp_path_factory.mktemp("tiny") / "pipeline")
    return StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)


def row_of(seed: int = 0) -> Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(CheckpointError) as refused:
        read_embeddings(path, **more)
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_diffusers_loads_what_we_save(pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    path, table = tmp_path / "a.safetensors", pipeline.text_encoder.get_input_embeddings().weight
    before = table.detach().clone()
    save_embedding(path, TokenEmbedding("<new1>", row_of()), {"step": 3})
    pipeline.load_textual_inversion(path)
    place = pipeline.tokenizer.convert_tokens_to_ids("<new1>")
    after = pipeline.text_encoder.get_input_embeddings().weight
    assert place == len(before) and len(after) == len(before) + 1
    assert_close(after[place], row_of(), rtol=0, atol=0)
    assert_close(after[:place], before, rtol=0, atol=0)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["hw2"]) == {"step": 3}
    [found] = read_embeddings(path, WIDTH)
    assert found.token == "<new1>"
    assert_close(found.row, row_of(), rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def parameters(old: bool) -> nn.ParameterDict:
    """As pickled by torch of today, or of 2022, when it had no list of keys."""
    rows = nn.ParameterDict({"*": nn.Parameter(row_of()[None])})
    if old:
        rows._parameters = collections.OrderedDict(rows._parameters)
        del rows._keys
    return rows


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
@pytest.mark.parametrize(
    ("content", "token"),
    [
        ({"<cat>": row_of()}, "<cat>"),
        ({"<cat>": row_of()[None]}, "<cat>"),
        ({"string_to_token": {"*": 265}, "string_to_param": {"*": row_of()[None]}}, "*"),
        (
            {
                "string_to_token": {"*": torch.tensor(265)},
                "string_to_param": {"*": row_of()[None].requires_grad_()},
                "name": "cat",
                "step": 100,
                "sd_checkpoint": None,
            },
            "cat",
        ),
        ({"string_to_token": {"*": 265}, "string_to_param": parameters(old=False)}, "*"),
        ({"string_to_token": {"*": 265}, "string_to_param": parameters(old=True)}, "*"),
    ],
    ids=["diffusers", "diffusers 2d", "course", "AUTOMATIC1111", "parameters", "old parameters"],
)
def test_pickled_forms(tmp_path: Path, suffix: str, content: Any, token: str) -> None:
    path = tmp_path / f"learned{suffix}"
    # Without zip (torch before 1.6) torch itself refuses modules.
    modules = isinstance(content.get("string_to_param"), nn.Module)
    torch.save(content, path, _use_new_zipfile_serialization=modules or suffix != ".pt")
    for asked, name in ((None, token), ("<mine>", "<mine>")):
        [found] = read_embeddings(path, WIDTH, asked)
        assert found.token == name
        assert_close(found.row, row_of(), rtol=0, atol=0)


@pytest.mark.parametrize("row", [row_of(), row_of()[None].requires_grad_()], ids=["1d", "2d"])
def test_a_row_alone_is_taken_under_a_given_name(tmp_path: Path, row: Tensor) -> None:
    path = tmp_path / "row.pt"
    torch.save(row, path)
    [found] = read_embeddings(path, WIDTH, "<new1>")
    assert found.token == "<new1>"
    assert_close(found.row, row_of(), rtol=0, atol=0)
    said = refusal(path)
    assert said.endswith("give it as TOKEN=FILE, for instance <new1>=row.pt")


def test_a_name_is_that_of_one_row(tmp_path: Path) -> None:
    one, two = {"*": row_of()}, {"<a>": row_of(1), "<b>": row_of(2)}
    for name, rows, tokens in (("", one, ["*"]), (3, one, ["*"]), ("cat", two, ["<a>", "<b>"])):
        torch.save({"string_to_param": rows, "name": name}, tmp_path / "a.pt")
        assert [e.token for e in read_embeddings(tmp_path / "a.pt")] == tokens


def test_several_tokens(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    save_file({"<a>": row_of(1), "<b>": row_of(2)}, path)
    assert [e.token for e in read_embeddings(path)] == ["<a>", "<b>"]
    assert "has 2 tokens (<a>, <b>), which cannot all be <c>" in refusal(path, token="<c>")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"<a>": row_of().to(dtype)}, tmp_path / "a.safetensors")
    [found] = read_embeddings(tmp_path / "a.safetensors")
    assert_close(found.row, row_of().to(dtype).float(), rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(768), "<a> has 768 numbers, the text encoder is 32 wide: it is of another"),
        (torch.zeros(31), "<a> has 31 numbers, the text encoder is 32 wide: it is of another"),
        (torch.zeros(3, WIDTH), "<a> has 3 rows, want one"),
        (torch.zeros(0, WIDTH), "<a> has 0 rows, want one"),
        (torch.full((WIDTH,), torch.nan), "<a> holds nan or infinity"),
        (torch.full((WIDTH,), 1e300, dtype=torch.float64), "<a> holds nan or infinity"),
        (torch.zeros(WIDTH, dtype=torch.int64), "<a> is torch.int64 (32,), want a row of floats"),
        (torch.tensor(1.0), "<a> is torch.float32 (), want a row of floats"),
    ],
)
def test_rows_that_are_none(tmp_path: Path, suffix: str, value: Tensor, message: str) -> None:
    path = tmp_path / f"a{suffix}"
    save_file({"<a>": value}, path) if suffix == ".safetensors" else torch.save(
        {"<a>": value}, path
    )
    assert refusal(path, width=WIDTH).startswith(message)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [row_of()],
        row_of(),
        {1: row_of()},
        {"string_to_param": 3},
        {"string_to_param": {}},
        {"name": "x", "string_to_param": {"*": "not a tensor"}},
        {"<a>": torch.zeros(WIDTH, device="meta")},
        {"<a>": torch.zeros(1).expand(2**24)},
        {"<a>": torch.zeros(WIDTH).to_sparse()},
    ],
)
def test_other_contents(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.bin")
    refusal(tmp_path / "a.bin")


def test_a_parameter_dict_brings_no_methods(tmp_path: Path) -> None:
    rows = parameters(old=False)
    rows._forward_hooks = os.system  # type: ignore[assignment]
    torch.save({"string_to_param": rows}, tmp_path / "a.pt")
    assert "system" in refusal(tmp_path / "a.pt")
    broken = parameters(old=True)
    del broken._parameters
    torch.save({"string_to_param": broken}, tmp_path / "a.pt")
    assert "no token embedding" in refusal(tmp_path / "a.pt")


def test_files_that_are_none(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.safetensors") == "no such file"
    assert refusal(tmp_path / "none.pt") == "the file is missing"
    assert refusal(tmp_path / "a.txt") == "want a file .safetensors, .bin, .pt, .pth"
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"large{suffix}"
        with path.open("wb") as file:
            file.truncate(3 * MAX_BYTES)
        assert "48 MiB is over the allowed 16 MiB" in refusal(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_torn_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save_file({"<a>": row_of()}, path) if suffix == ".safetensors" else torch.save({"<a>": 1}, path)
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "torn" in refusal(path) or "not a readable safetensors file" in refusal(path)
