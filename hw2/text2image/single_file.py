"""Stable Diffusion 1.x in one file, as its authors and the course hand it around.

`model.ckpt` of Rombach et al. 2022, or the same tensors as .safetensors: the denoiser's names are
those of their code, the autoencoder's too, the text encoder's are transformers'. Vocabulary and
process are not in it; they are the same for all of 1.x.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from hw2.claims import PER_BYTE, refuse_misfits, tensor_names
from hw2.data.torch_files import load_torch, refuse_unusual, state_in
from hw2.diffusion.schedule import scaled_linear_schedule
from hw2.disclosure import describe
from hw2.errors import CheckpointError, DataError
from hw2.text2image.model import StableDiffusion
from hw2.text2image.original_names import LAYERS, LEVELS, text_name, unet_name, vae_name
from hw2.text2image.vocabulary import NUM_MERGES, small_tokenizer

MAX_BYTES = 8 * 2**30  # 7.2 GiB with averaged weights beside the others
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
AVERAGED = "model_ema."
SIZE, CONTEXT, HEADS, HEAD_WIDTH, SCALING_FACTOR = 64, 77, 8, 64, 0.18215
SHOWN = 5
WAY = "give one of 1.x, as the course's model.ckpt, or a folder that diffusers saved"
ODD = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError)  # of shapes: none, or 0

N = TypeVar("N", bound=nn.Module)


class _Skipped:
    """What lies beside the weights and is not looked at, in place of the classes that it is of."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# Settings of Lightning's callbacks, and their numbers, are in the authors' files.
BESIDE: list[Any] = [
    (type(name, (_Skipped,), {}), name)
    for name in (
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "numpy.dtypes.Float64DType",
    )
]


def read_single_file(path: Path) -> StableDiffusion:
    """The model in `path`, in float32. Averaged weights that lie beside the others are not taken.

    Raises CheckpointError for a file that is torn, holds code, or is not a Stable Diffusion 1.x.
    """
    found = _weights(path)
    _refuse_other_kinds(path, found)
    try:
        unet = _filled(path, _unet(found), found, UNET, unet_name)
        vae = _filled(path, _vae(found), found, VAE, vae_name)
        text = _filled(path, _text_encoder(found), found, TEXT, text_name)
    except CheckpointError:
        raise
    except ODD as error:
        raise CheckpointError(
            f"{path}: no Stable Diffusion 1.x ({describe(error)}): {WAY}"
        ) from None
    tokenizer = small_tokenizer([], NUM_MERGES, CONTEXT)  # all of CLIP's
    schedule = scaled_linear_schedule(1000)
    return StableDiffusion(unet, text, tokenizer, vae, schedule, "epsilon", SCALING_FACTOR)


def _weights(path: Path) -> dict[str, Tensor]:
    """The tensors of the file by name; their pages are read when they are asked for."""
    if path.suffix.lower() == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                names = [n for n in tensor_names(path, file) if not n.startswith(AVERAGED)]
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path}: not a readable safetensors file ({describe(error)})"
            ) from None
        return tensors
    try:
        with torch.serialization.safe_globals(BESIDE):
            found = state_in(load_torch(path, MAX_BYTES, mapped=True))
        if not isinstance(found, dict):
            raise DataError(f"it holds {type(found).__name__}, want names of weights")
        tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
        refuse_unusual(tensors.values(), MAX_BYTES)
        have, claimed = path.stat().st_size, sum(value.numel() for value in tensors.values())
        if claimed > PER_BYTE * have:  # one repeated would fill the memory, as float32
            raise DataError(f"it has {have} bytes for {claimed} numbers: give the whole file")
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return tensors


def _refuse_other_kinds(path: Path, found: Mapping[str, Tensor]) -> None:
    if any(name.startswith("cond_stage_model.model.") for name in found):
        raise CheckpointError(f"{path}: is a Stable Diffusion 2.x: {WAY} of it")
    missing = [part for part in (UNET, VAE, TEXT) if not any(n.startswith(part) for n in found)]
    if missing:
        names = ", ".join(name[:80] for name in [*found][:SHOWN]) or "none"
        raise CheckpointError(
            f"{path}: no Stable Diffusion 1.x: no weights {', '.join(missing)}.., found {names}: "
            f"{WAY}"
        )
    for name, value in found.items():  # of a width of 0 torch warns, and fails somewhere later
        if name.startswith((UNET, VAE, TEXT)) and not value.numel():
            raise CheckpointError(f"{path}: no Stable Diffusion 1.x ({name[:80]} is empty): {WAY}")


def _unet(found: Mapping[str, Tensor]) -> UNet2DConditionModel:
    """A network without weights, as wide as those that were found."""
    name = UNET + "input_blocks.{}.0.out_layers.3.weight"
    widths = [len(found[name.format(3 * level + 1)]) for level in range(LEVELS)]
    keys = found[f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"]
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=SIZE,
            in_channels=found[f"{UNET}input_blocks.0.0.weight"].shape[1],
            out_channels=len(found[f"{UNET}out.2.weight"]),
            block_out_channels=tuple(widths),
            layers_per_block=LAYERS,
            cross_attention_dim=keys.shape[1],
            attention_head_dim=HEADS,  # a number of heads, by diffusers' old misnomer
        )


def _vae(found: Mapping[str, Tensor]) -> AutoencoderKL:
    name = VAE + "encoder.down.{}.block.0.conv2.weight"
    widths = [len(found[name.format(level)]) for level in range(LEVELS)]
    with torch.device("meta"):
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * LEVELS,
            up_block_types=("UpDecoderBlock2D",) * LEVELS,
            block_out_channels=tuple(widths),
            layers_per_block=LAYERS,
            latent_channels=len(found[f"{VAE}post_quant_conv.weight"]),
            sample_size=8 * SIZE,
            scaling_factor=SCALING_FACTOR,
        )


def _text_encoder(found: Mapping[str, Tensor]) -> CLIPTextModel:
    start = f"{TEXT}text_model."
    words, width = found[f"{start}embeddings.token_embedding.weight"].shape
    layers = [n for n in found if re.fullmatch(rf"{re.escape(start)}encoder.*\.fc1\.weight", n)]
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=len(found[layers[0]]),
        projection_dim=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // HEAD_WIDTH,
        max_position_embeddings=CONTEXT,
        hidden_act="quick_gelu",
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):  # not on "meta": its positions are no weights
        return CLIPTextModel(config)


def _filled(
    path: Path, net: N, found: Mapping[str, Tensor], prefix: str, name_of: Callable[[str], str]
) -> N:
    """`net` with the weights found, by the names that `name_of` gives to its own."""
    own = net.state_dict()
    want = {f"{prefix}{name_of(name)}": name for name in own}
    shapes = {theirs: tuple(own[name].shape) for theirs, name in want.items()}
    # The autoencoder's attention is made of 1x1 convolutions there, of matrices here.
    given = {
        theirs: found[theirs].reshape(found[theirs].shape[:2])
        if "attn_1" in theirs and found[theirs].ndim == 4
        else found[theirs]
        for theirs in want
        if theirs in found
    }
    refuse_misfits(str(path), {k: tuple(v.shape) for k, v in given.items()}, shapes)
    for name, value in given.items():
        if not value.is_floating_point():
            raise CheckpointError(f"{path}: {name} is {value.dtype}, want floats")
    weights = {want[k]: v.detach().to(torch.float32, copy=True) for k, v in given.items()}
    net.load_state_dict(weights, assign=True)
    return net
