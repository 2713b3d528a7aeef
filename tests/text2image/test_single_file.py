"""All parts in one file: the same weights by diffusers' own translation, and what is refused."""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from hw2.bucket.storage import Bucket
from hw2.diffusion.schedule import scaled_linear_schedule
from hw2.errors import CheckpointError
from hw2.locate import find_model
from hw2.personalize.embeddings import read_tensors
from hw2.text2image.finding import find_single_file
from hw2.text2image.loading import load_stable_diffusion
from hw2.text2image.original_names import unet_name, vae_name
from hw2.text2image.single_file import TEXT, UNET, VAE
from hw2.weights import read_meta, read_part
from tests.buckets import BucketServer

pytest_plugins = ["tests.bucket_fixtures"]
State = dict[str, Tensor]
WIDTHS = (32, 64, 64, 96)
LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint"
# Of the names in the authors' file: one of each kind whose place is reckoned.
THEIRS = {
    "input_blocks.0.0.weight": 32,
    "input_blocks.3.0.op.weight": 32,
    "input_blocks.4.0.skip_connection.weight": 64,
    "input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight": 64,
    "input_blocks.11.0.emb_layers.1.bias": 96,
    "middle_block.1.proj_in.weight": 96,
    "middle_block.2.out_layers.3.weight": 96,
    "output_blocks.2.1.conv.weight": 96,
    "output_blocks.5.2.conv.weight": 64,
    "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": 256,
    "time_embed.2.weight": 128,
    "out.2.bias": 4,
}
THEIRS_OF_VAE = (
    "encoder.down.1.block.0.nin_shortcut.weight",
    "encoder.down.0.downsample.conv.weight",
    "encoder.mid.attn_1.q.weight",
    "decoder.mid.block_2.conv1.weight",
    "decoder.up.3.upsample.conv.weight",
    "decoder.up.0.block.2.norm2.bias",
    "decoder.norm_out.weight",
    "post_quant_conv.bias",
)


@pytest.fixture(scope="module")
def weights() -> State:
    """A state_dict as the authors save it, of their layers, narrow."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS, cross_attention_dim=64, attention_head_dim=8
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        layers_per_block=2,
    )
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=64, intermediate_size=256, num_hidden_layers=2
    )
    state = {UNET + unet_name(name): value for name, value in unet.state_dict().items()}
    for name, value in vae.state_dict().items():
        conv = "attentions" in name and value.ndim == 2
        state[VAE + vae_name(name)] = value[..., None, None].clone() if conv else value
    for name, value in CLIPTextModel(config).state_dict().items():
        state[f"{TEXT}text_model.{name.removeprefix('text_model.')}"] = value
    state[f"{TEXT}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state |= {"betas": torch.zeros(1000), "model_ema.num_updates": torch.tensor(1)}
    averaged = {f"model_ema.{n.replace('.', '')}": v + 1 for n, v in state.items() if UNET in n}
    return state | averaged


def _lightning(weights: State, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save them as the authors did: among settings of Lightning, which is not installed."""
    module = ModuleType(LIGHTNING)
    callback = type("ModelCheckpoint", (), {"__module__": LIGHTNING})
    module.__dict__["ModelCheckpoint"] = callback
    with monkeypatch.context() as patch:
        for name in (LIGHTNING.split(".")[0], LIGHTNING.rpartition(".")[0]):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, LIGHTNING, module)
        about = {"epoch": 1, "callbacks": {callback: {"best_model_score": np.float64(0.3)}}}
        torch.save(about | {"state_dict": weights}, path)


@pytest.mark.parametrize("name", ["model.ckpt", "bare.pt", "model.safetensors"])
def test_the_weights_are_those_that_diffusers_reads(
    weights: State, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith(".safetensors"):
        save_file(weights, tmp_path / name)
    elif name == "bare.pt":
        torch.save(weights, tmp_path / name)
    else:
        _lightning(weights, tmp_path / name, monkeypatch)
    model = load_stable_diffusion(str(tmp_path / name))
    about = {"layers_per_block": 2, "down_block_types": [""] * 4, "up_block_types": [""] * 4}
    for net, theirs in (
        (model.unet, convert_ldm_unet_checkpoint(dict(weights), about)),
        (model.vae, convert_ldm_vae_checkpoint(dict(weights), about)),
    ):
        assert net.state_dict().keys() == theirs.keys()
        assert all(torch.equal(value, theirs[k]) for k, value in net.state_dict().items())
        assert not net.training and not any(p.requires_grad for p in net.parameters())
    for key, value in model.text_encoder.state_dict().items():
        assert torch.equal(value, weights[f"{TEXT}text_model.{key.removeprefix('text_model.')}"])
    config = model.text_encoder.config
    assert (config.num_attention_heads, config.hidden_act) == (1, "quick_gelu")
    assert model.unet.config.attention_head_dim == 8  # diffusers' word for their number
    captions = ["a photo of 2 DOGS, naïve", "zebra"]
    ends = SimpleTokenizer()(captions)
    assert torch.equal(model.tokens(captions), ends.masked_fill(ends == 0, 49407))
    assert torch.equal(model.schedule.betas, scaled_linear_schedule(1000).betas)
    assert (model.image_size, model.prediction_type, model.scaling_factor) == (
        512,
        "epsilon",
        0.18215,
    )


def test_the_names_are_the_authors(weights: State) -> None:
    for name, size in THEIRS.items():
        assert len(weights[UNET + name]) == size, name
    for name in THEIRS_OF_VAE:
        assert VAE + name in weights


def _without(part: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if not k.startswith(part)}


def _torn(name: str, value: Tensor | None) -> Callable[[State], State]:
    def tear(state: State) -> State:
        rest = {k: v for k, v in state.items() if k != name}
        return rest if value is None else rest | {name: value}

    return tear


CONV = f"{UNET}input_blocks.0.0.weight"
WIDE = f"{UNET}input_blocks.1.0.out_layers.3.weight"
TABLE = f"{TEXT}text_model.embeddings.token_embedding.weight"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_without(TEXT), rf"no weights {TEXT}\.\., found .*: give one of 1.x"),
        (lambda _: {"lora_unet_down.alpha": torch.ones(1)}, "found lora_unet_down.alpha: give"),
        (lambda state: state | {"cond_stage_model.model.x": torch.ones(1)}, "Diffusion 2.x: give"),
        (_torn(CONV, None), "no Stable Diffusion 1.x .*input_blocks.0.0.weight.*: give one"),
        (_torn(f"{UNET}out.0.bias", None), "1 weights do not fit: missing .*out.0.bias"),
        (_torn(f"{VAE}quant_conv.bias", torch.ones(7)), r"quant_conv.bias is \(7,\), want \(8,\)"),
        (_torn(CONV, torch.ones(32, 9, 3, 3)), "channels of its denoiser .* 9 and 4"),
        (_torn(CONV, torch.full((32, 4, 3, 3), torch.nan)), "unet: conv_in.weight holds nan"),
        (
            _torn(CONV, torch.zeros(32, 4, 3, 3, dtype=torch.complex64)),
            r"blocks.0.0.weight is torch.complex64, want floats",
        ),
        (
            _torn(CONV, torch.zeros(32, 4, 3, 3, dtype=torch.int8)),
            r"blocks.0.0.weight is torch.int8, want floats",
        ),
        (_torn(CONV, torch.tensor(1.0)), "no Stable Diffusion 1.x .*: give one"),
        (_torn(WIDE, torch.zeros(0)), "no Stable Diffusion 1.x .*: give one"),
        (_torn(TABLE, torch.zeros(64, 0)), "no Stable Diffusion 1.x .*: give one"),
        (
            _torn(TABLE, torch.zeros(1, dtype=torch.int8).expand(2**24, 64)),
            r"it has \d{8} bytes for \d{10} numbers: give the whole file",
        ),
    ],
    ids=[
        "no text",
        "lora",
        "2.x",
        "torn",
        "missing",
        "misshapen",
        "inpainting",
        "nan",
        "complex",
        "integers",
        "scalar",
        "no channels",
        "no width",
        "repeated",
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    weights: State, change: Callable[[State], State], told: str, tmp_path: Path
) -> None:
    torch.save(change(weights), tmp_path / "model.ckpt")
    with warnings.catch_warnings(), pytest.raises(CheckpointError, match=told) as found:
        warnings.simplefilter("error")  # nor is anything said before
        load_stable_diffusion(str(tmp_path / "model.ckpt"))
    assert "\n" not in str(found.value)


def test_a_file_of_very_many_tensors_is_refused_before_they_are_read(tmp_path: Path) -> None:
    one, path = torch.zeros(0), tmp_path / "model.safetensors"
    save_file({f"{UNET}{place}": one.clone() for place in range(10_001)}, path)
    with pytest.raises(CheckpointError, match=r"has 10001 tensors, over the allowed 10000"):
        load_stable_diffusion(str(path))
    for read in (lambda: read_part(path, UNET), lambda: read_tensors(path, 2**30)):
        with pytest.raises(CheckpointError, match=r"has 10001 tensors, over the allowed 10000"):
            read()


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors", "model"])
def test_a_pipe_is_not_called_missing(name: str, tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"/{name}: it is not a regular file"):
        load_stable_diffusion(str(path))
    with pytest.raises(CheckpointError, match=rf"/{name}: it is not a regular file"):
        read_meta(path)
    with pytest.raises(CheckpointError, match=rf"/{name} is not a regular file"):
        find_model(str(path))
    with pytest.raises(CheckpointError, match=rf"/{name}: it is not a regular file"):
        read_tensors(path, 2**30)


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made",)


def test_nothing_in_the_file_is_run(
    weights: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": weights, "x": _Code()}, "model.ckpt")
    with pytest.raises(CheckpointError, match=r"model\.ckpt: it holds .*mkdir, want nothing but"):
        load_stable_diffusion("model.ckpt")
    assert not Path("made").exists()
    Path("model.safetensors").write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_stable_diffusion("model.safetensors")
    Path("model.ckpt").write_bytes(Path("model.ckpt").read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="not a torch file, or a torn one"):
        load_stable_diffusion("model.ckpt")
    with pytest.raises(CheckpointError, match=r"the \.ckpt or \.safetensors of a Stable Diffusion"):
        load_stable_diffusion("absent.ckpt")


def test_a_file_in_a_bucket(
    tmp_path: Path, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = bucket_server.uri("models/sd.safetensors")
    Bucket(bucket_server.uri("models")).write_text("sd.safetensors", "of no format")
    file = find_single_file(uri)
    assert file is not None and file.read_text() == "of no format"
    with pytest.raises(CheckpointError, match=r"^s3://results/models/sd\.safetensors: not a read"):
        load_stable_diffusion(uri)
    with pytest.raises(CheckpointError, match=r"model=s3://results/models/no.ckpt: no such file$"):
        load_stable_diffusion(bucket_server.uri("models/no.ckpt"))
