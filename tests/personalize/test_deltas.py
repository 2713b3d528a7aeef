"""Files of Custom Diffusion: what diffusers loads, what low rank keeps, what is refused."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from hw2.errors import CheckpointError, ConfigError
from hw2.personalize.deltas import (
    LOW_RANK,
    WEIGHTS,
    Deltas,
    apply_weights,
    base_hash,
    cross_attention_weights,
    read_deltas,
    row_file,
    save_deltas,
)
from hw2.personalize.embeddings import read_tensors
from hw2.personalize.merging import is_merged
from hw2.text2image.model import StableDiffusion
from hw2.weights import described, write_tensors
from tests.personalize.tiny import WIDTH, predicted, tiny_model, tiny_pipeline_folder

ABOUT = {"concepts": ["0", "1"], "step": 10}


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    """Not to be changed."""
    return tiny_model()


@pytest.fixture(scope="module")
def base(model: StableDiffusion) -> dict[str, Tensor]:
    return {k: w.detach().clone() for k, w in cross_attention_weights(model.unet).items()}


@pytest.fixture(scope="module")
def deltas(model: StableDiffusion, base: dict[str, Tensor]) -> Deltas:
    draw = torch.Generator().manual_seed(1)
    return Deltas(
        base_hash(model.unet, model.text_encoder),
        {k: w + 0.3 * torch.randn(w.shape, generator=draw) for k, w in base.items()},
        {token: torch.randn(WIDTH, generator=draw) for token in ("<new1>", "ein/Ding")},
        ABOUT,
    )


def test_layers_of_stable_diffusion_1() -> None:
    with torch.device("meta"):  # the defaults beside these are those of version 1.4
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    shapes = [tuple(w.shape) for w in cross_attention_weights(unet).values()]
    assert len(shapes) == 32
    # Two layers a level down, three up, one in the middle, each with keys and values.
    want = {(320, 768): 10, (640, 768): 10, (1280, 768): 12}
    assert {shape: shapes.count(shape) for shape in shapes} == want


def test_hash_of_the_base(model: StableDiffusion, deltas: Deltas) -> None:
    assert base_hash(tiny_model().unet, tiny_model().text_encoder) == deltas.base
    half = tiny_model()
    half.unet.half(), half.text_encoder.half()
    assert base_hash(half.unet, half.text_encoder) == deltas.base
    half.unet.float(), half.text_encoder.float()
    assert base_hash(half.unet, half.text_encoder) == deltas.base
    other = tiny_model(seed=1)
    hashes = {
        deltas.base,
        base_hash(other.unet, model.text_encoder),
        base_hash(model.unet, other.text_encoder),
    }
    with torch.no_grad():
        next(iter(cross_attention_weights(half.unet).values()))[0, 0] += 0.1
    hashes.add(base_hash(half.unet, half.text_encoder))
    assert len(hashes) == 4


def test_round_trip_to_the_bit(deltas: Deltas, base: dict[str, Tensor], tmp_path: Path) -> None:
    assert save_deltas(tmp_path / "a" / "b", deltas, base) == 1
    found = read_deltas(tmp_path / "a" / "b", deltas.base, base)
    assert (found.base, found.about) == (deltas.base, ABOUT)
    assert list(found.weights) == list(base) and list(found.rows) == ["<new1>", "ein/Ding"]
    assert_close(found.weights, deltas.weights, rtol=0, atol=0)
    assert_close(found.rows, deltas.rows, rtol=0, atol=0)
    changed = tiny_model().unet
    before = {k: v.clone() for k, v in changed.state_dict().items()}
    apply_weights(changed, found.weights)
    for name, weight in changed.state_dict().items():
        assert_close(weight, deltas.weights.get(name, before[name]), rtol=0, atol=0)
    assert all(w.requires_grad for w in changed.parameters())


def test_diffusers_loads_the_deltas(
    deltas: Deltas, base: dict[str, Tensor], tmp_path: Path
) -> None:
    save_deltas(tmp_path / "deltas", deltas, base)
    pipe = StableDiffusionPipeline.from_pretrained(
        tiny_pipeline_folder(tmp_path / "pipeline"), dtype=torch.float32
    )
    by_hand = copy.deepcopy(pipe.unet)
    before = predicted(by_hand)
    modules = dict(by_hand.named_modules())
    for name, weight in deltas.weights.items():
        modules[name.removesuffix(".weight")].weight.data = weight
    pipe.unet.load_attn_procs(tmp_path / "deltas", weight_name=WEIGHTS, _pipeline=pipe)
    for token in deltas.rows:
        pipe.load_textual_inversion(tmp_path / "deltas", weight_name=row_file(token))
    assert_close(predicted(pipe.unet), predicted(by_hand), rtol=0, atol=1e-5)
    assert (predicted(pipe.unet) - before).abs().max() > 1e-2
    rows = pipe.text_encoder.get_input_embeddings().weight
    for token, row in deltas.rows.items():
        assert_close(rows[pipe.tokenizer.convert_tokens_to_ids(token)], row, rtol=0, atol=0)


@pytest.mark.parametrize("rank", [1, 3, 15, 16, 100])
def test_low_rank(deltas: Deltas, base: dict[str, Tensor], tmp_path: Path, rank: int) -> None:
    save_deltas(tmp_path, deltas, base)
    energy = save_deltas(tmp_path, deltas, base, rank)
    assert not (tmp_path / WEIGHTS).exists()
    found = read_deltas(tmp_path, deltas.base, base)
    kept, whole, shares = 0.0, 0.0, {}
    for name, weight in deltas.weights.items():
        difference = weight.double().numpy() - base[name].double().numpy()
        u, s, vh = np.linalg.svd(difference)
        best = (u[:, : len(s)] * s)[:, :rank] @ vh[: len(s)][:rank]
        assert_close(
            (found.weights[name] - base[name]).double(), torch.from_numpy(best), rtol=0, atol=1e-5
        )
        assert found.weights[name].dtype == torch.float32
        shares[name] = (s[:rank] ** 2).sum() / (s**2).sum()
        kept, whole = kept + (s[:rank] ** 2).sum(), whole + (s**2).sum()
    assert energy == pytest.approx(kept / whole, abs=1e-12)
    assert energy == pytest.approx(1) if rank >= WIDTH else energy < 1
    meta = read_tensors(tmp_path / LOW_RANK, 2**20)[1]
    assert (meta["rank"], meta["kept_energy"]) == (rank, energy)
    assert meta["kept_energies"] == pytest.approx(shares, abs=1e-12)
    assert save_deltas(tmp_path, deltas, base) == 1
    assert not (tmp_path / LOW_RANK).exists()


def test_nothing_changed_is_wholly_kept(
    deltas: Deltas, base: dict[str, Tensor], tmp_path: Path
) -> None:
    assert save_deltas(tmp_path, replace(deltas, weights=base), base, rank=2) == 1
    assert_close(read_deltas(tmp_path, deltas.base, base).weights, base, rtol=0, atol=0)


def first(tensors: dict[str, Tensor]) -> str:
    """Name of the first weight or factor; self-attention's are empty."""
    return min(name for name, value in tensors.items() if value.numel())


NO_LAYER = "is no layer of this model, or not two factors"
# How a file is spoilt; what is said of whole matrices, and of factors.
SPOIL: dict[str, tuple[Callable[[dict[str, Tensor], str], Any], str, str]] = {
    "nan": (
        lambda tensors, name: tensors[name].fill_(torch.nan),
        "holds nan or infinite numbers",
        "holds nan or infinite numbers",
    ),
    "missing": (lambda tensors, name: tensors.pop(name), "1 weights do not fit: missing", NO_LAYER),
    "unknown": (
        lambda tensors, name: tensors.update({"a.attn2.to_k.weight": torch.ones(2, 2)}),
        "1 weights do not fit: unknown a.attn2.to_k.weight",
        NO_LAYER,
    ),
    "shape": (
        lambda tensors, name: tensors.update({name: tensors[name][:, 1:].contiguous()}),
        "1 weights do not fit: ",
        "do not fit: (",
    ),
    "one row": (
        lambda tensors, name: tensors.update({name: tensors[name][:1].contiguous()}),
        "1 weights do not fit: ",
        "do not fit: (1, ",
    ),
    "integers": (
        lambda tensors, name: tensors.update({name: tensors[name].int()}),
        "is torch.int32, want floats",
        NO_LAYER,
    ),
}


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(CheckpointError) as refused:
        act()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize(("spoil", "said", "said_of_factors"), SPOIL.values(), ids=SPOIL)
def test_weights_that_do_not_fit(
    deltas: Deltas,
    base: dict[str, Tensor],
    tmp_path: Path,
    spoil: Callable[[dict[str, Tensor], str], Any],
    said: str,
    said_of_factors: str,
    rank: int | None,
) -> None:
    save_deltas(tmp_path, deltas, base, rank)
    path = tmp_path / (LOW_RANK if rank else WEIGHTS)
    tensors, meta = read_tensors(path, 2**24)
    spoil(tensors, first(tensors))
    write_tensors(path, tensors, described(meta))
    message = refusal(lambda: read_deltas(tmp_path, deltas.base, base))
    assert message.startswith(f"{path}: ")
    assert (said_of_factors if rank else said) in message


def test_files_that_are_none(deltas: Deltas, base: dict[str, Tensor], tmp_path: Path) -> None:
    def read(hash_of_base: str = deltas.base) -> str:
        return refusal(lambda: read_deltas(tmp_path, hash_of_base, base))

    path, row = tmp_path / WEIGHTS, tmp_path / row_file("<new1>")
    assert "give a folder that jobs.custom_diffusion wrote" in read()
    save_deltas(tmp_path, deltas, base)
    hashes = f"(hash {deltas.base[:8]}.., this is cd34cd34..)"
    assert f"was made for another base model {hashes}" in read("cd34" * 16)
    whole = path.read_bytes()
    for size in (0, 6, 1000, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "not a readable safetensors file" in read()
    path.write_bytes(whole + bytes(2**24))
    assert "is over the allowed" in read()
    tensors = load_file(row)
    no_tokens = [{"base": "x", "tokens": found, "about": {}} for found in (3, {"\ud800": "0"})]
    for meta in (None, {"hw2": "[]"}, *({"hw2": json.dumps(of)} for of in no_tokens)):
        save_file(tensors, path, metadata=meta)
        assert "has no hw2 metadata" in read()
    path.write_bytes(whole)
    save_file({"<new1>": torch.zeros(WIDTH)}, row)
    assert "is not the row of <new1> that was saved with the weights" in read()
    row.unlink()
    assert read() == f"{row}: no such file"


def test_what_is_not_saved(deltas: Deltas, base: dict[str, Tensor], tmp_path: Path) -> None:
    name = first(base)
    spoilt = replace(deltas, weights={**deltas.weights, name: torch.full_like(base[name], np.nan)})
    assert f"{name} holds nan" in refusal(lambda: save_deltas(tmp_path / "a", spoilt, base))
    with pytest.raises(ConfigError, match="rank=0: want at least 1"):
        save_deltas(tmp_path / "a", deltas, base, rank=0)
    assert not (tmp_path / "a").exists()
    fewer = replace(deltas, weights={k: w for k, w in deltas.weights.items() if k != name})
    assert f"missing {name}" in refusal(lambda: apply_weights(tiny_model().unet, fewer.weights))


def test_what_is_kept_but_for_rounding(
    deltas: Deltas, base: dict[str, Tensor], tmp_path: Path
) -> None:
    name, token = next(iter(deltas.weights)), next(iter(deltas.rows))

    def changed(share: float) -> Deltas:
        return replace(deltas, weights=deltas.weights | {name: deltas.weights[name] * (1 + share)})

    assert not is_merged(tmp_path, deltas, base)
    save_deltas(tmp_path, deltas, base)
    assert is_merged(tmp_path, deltas, base) and is_merged(tmp_path, changed(5e-7), base)
    others = (
        changed(1e-5),
        replace(deltas, base="other"),
        replace(deltas, about=ABOUT | {"step": 11}),
        replace(deltas, rows=deltas.rows | {token: deltas.rows[token] + 1e-6}),
        replace(deltas, rows=dict(reversed(deltas.rows.items()))),
    )
    assert not any(is_merged(tmp_path, other, base) for other in others)
    (tmp_path / WEIGHTS).write_bytes(b"torn")
    assert not is_merged(tmp_path, deltas, base)


def test_files_of_tokens() -> None:
    assert row_file("<new1>") == "token_new1.safetensors"
    assert row_file("<My-cat_2>") == "token_My-cat_2.safetensors"
    strange = ["../../etc", "<../a>", "new1", "<" + "a" * 300 + ">", "<犬>", "<é>"]
    names = {row_file(token) for token in [*strange, "<new1>"]}
    assert len(names) == len(strange) + 1
    assert all(len(name) < 60 and "/" not in name and name.isascii() for name in names)
