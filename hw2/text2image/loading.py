"""Loading a Stable Diffusion 1.x model: from a hub, a local folder or file, a released asset."""

import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from hw2.claims import refuse_infinite, refuse_larger, tensor_names
from hw2.data.files import no_file, read_json
from hw2.disclosure import describe
from hw2.errors import CheckpointError
from hw2.locate import naming
from hw2.text2image.finding import INDEX, PIPELINE, find_pipeline, find_single_file, refuse_long
from hw2.text2image.model import StableDiffusion
from hw2.text2image.process import prediction_type_of, schedule_of, scheduler_in
from hw2.text2image.single_file import read_single_file
from hw2.text2image.trial import refuse_unusable

CONFIG = "config.json"
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)

P = TypeVar("P")


def load_stable_diffusion(model: str) -> StableDiffusion:
    """The pipeline meant by `model`, in float32, to evaluate, its weights frozen.

    Of a folder weights are read from safetensors alone, never from pickles; a file that holds all
    parts is read by `read_single_file`. Raises CheckpointError for one that is missing, damaged,
    incomplete or not a Stable Diffusion 1.x.
    """
    be_quiet()
    if file := find_single_file(model):
        with naming(model, file):
            found = read_single_file(file)
    else:
        place = find_pipeline(model)
        with naming(model, place.removesuffix(f"/{PIPELINE}")):
            found = _of_folder(model, place)
    _refuse_misfits(model, found)
    refuse_unusable(model, found)
    parts = {"unet": found.unet, "vae": found.vae, "text_encoder": found.text_encoder}
    for name, part in parts.items():
        refuse_infinite(f"model={model}: the weights of its {name}", part.state_dict())
        part.eval().requires_grad_(False)
    return found


def _of_folder(model: str, place: str) -> StableDiffusion:
    """The pipeline that diffusers saved at `place`, or that the hub has under this name."""
    _refuse_other_kinds(model, place)
    whole = {"low_cpu_mem_usage": False}  # else missing weights stay empty, not reported
    unet = _part(model, "unet", lambda: _weights(UNet2DConditionModel, place, "unet", **whole))
    _correct_size(unet)
    vae = _part(model, "vae", lambda: _weights(AutoencoderKL, place, "vae", **whole))
    text = _part(model, "text_encoder", lambda: _weights(CLIPTextModel, place, "text_encoder"))
    tokenizer = _part(
        model, "tokenizer", lambda: CLIPTokenizer.from_pretrained(place, subfolder="tokenizer")
    )
    scheduler = _part(model, "scheduler", lambda: scheduler_in(place))
    return StableDiffusion(
        unet,
        text,
        tokenizer,
        vae,
        schedule_of(model, scheduler),
        prediction_type_of(model, scheduler),
        _scaling_factor(model, vae.config.scaling_factor),
    )


def be_quiet() -> None:
    """No progress bars for loading milliseconds, no warnings of what we check ourselves."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity(logging.CRITICAL)


def _part(model: str, name: str, load: Callable[[], P]) -> P:
    try:
        return load()
    except (CheckpointError, MemoryError, ImportError):  # the last may hide a Ctrl-C
        raise
    except Exception as error:  # the libraries' kinds are open-ended
        raise CheckpointError(
            f"model={model}: its {name} cannot be loaded ({describe(error)})"
        ) from None


def _weights(cls: Any, place: str, part: str, **how: Any) -> Any:
    """The part's weights, in half precision where it has no others; never from pickles."""

    def load(variant: str | None) -> Any:
        return cls.from_pretrained(
            place,
            subfolder=part,
            variant=variant,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            **how,
        )

    _refuse_larger(cls, Path(place) / part)
    try:
        found, report = load(None)
    except OSError as error:
        try:
            found, report = load("fp16")
        except OSError:
            if any((Path(place) / part).glob("*.bin")):
                raise ValueError(
                    "its weights are pickles: save it again with safe_serialization=True"
                ) from None
            raise error from None
    _refuse_gaps(report)
    return found


def _refuse_larger(cls: Any, folder: Path) -> None:
    """Raise CheckpointError if the config in a local folder describes far more than lies there."""
    weights = sorted(folder.glob("*.safetensors"))  # large ones lie in several files
    for path in weights:
        if not path.is_file():
            raise ValueError(f"{path.name}: {no_file(path)}")
    if not weights:
        return
    if not (folder / CONFIG).is_file():  # for which transformers would take its defaults
        raise ValueError(f"no {CONFIG} there")
    if cls is CLIPTextModel:
        config: Any = CLIPTextConfig.from_pretrained(folder)
        refuse_larger(weights, config.to_dict(), lambda: cls(config))
    else:
        config = cls.load_config(folder)
        refuse_larger(weights, config, lambda: cls.from_config(config))
    for path in weights:
        with safe_open(path, framework="pt") as file:
            tensor_names(path, file)


def _correct_size(unet: UNet2DConditionModel) -> None:
    """diffusers' rule: before 0.9 a fine-tune's settings said 32, a default, for latents of 64."""
    wrote = re.findall(r"\d+", str(unet.config.get("_diffusers_version")))
    side = unet.config.sample_size
    if wrote and [int(part) for part in wrote[:2]] < [0, 9] and isinstance(side, int) and side < 64:
        unet.register_to_config(sample_size=64)


def _refuse_gaps(report: dict[str, Any]) -> None:
    """Missing weights are left at random by diffusers and transformers, with a warning."""
    for kind in ("missing_keys", "mismatched_keys"):
        # Of old files the positions' numbers are no weights.
        names = sorted(
            str(name) for name in report.get(kind, ()) if "position_ids" not in str(name)
        )
        if names:
            raise ValueError(f"{len(names)} {kind.replace('_keys', '')} weights: {names[0]}, ..")


def _refuse_other_kinds(model: str, place: str) -> None:
    if (file := Path(place) / INDEX).is_file():
        refuse_long(file.parent)
        parts = _part(model, INDEX, lambda: read_json(file))
    else:
        parts = _index_of_hub(model, place)
    kind = parts.get("_class_name") if isinstance(parts, dict) else None
    if kind != "StableDiffusionPipeline":
        raise CheckpointError(
            f"model={model}: is a {kind}, want a StableDiffusionPipeline of the 1.x kind"
        )


def _index_of_hub(model: str, place: str) -> Any:
    try:
        return DiffusionPipeline.load_config(place)
    except UNREADABLE as error:
        raise CheckpointError(
            f"model={model}: no such folder here, and the hub does not give it "
            f"({describe(error)}): give a folder that diffusers saved, or asset:text2image, which "
            "needs no network"
        ) from None


def _refuse_misfits(model: str, found: StableDiffusion) -> None:
    unet, text, tokenizer = found.unet.config, found.text_encoder.config, found.tokenizer
    widths = unet.cross_attention_dim, text.hidden_size
    channels = unet.in_channels, found.vae.config.latent_channels
    words = len(tokenizer), text.vocab_size
    for what, (one, other) in (
        ("cross_attention_dim and the text encoder's width", widths),
        ("the channels of its denoiser and its autoencoder", channels),
        ("the words of its tokenizer and its text encoder", words),
    ):
        if one != other:
            raise CheckpointError(f"model={model}: {what} differ: {one} and {other}")
    limit, most = tokenizer.model_max_length, text.max_position_embeddings
    if limit == VERY_LARGE_INTEGER:  # which transformers takes where nothing is said
        raise CheckpointError(
            f"model={model}: its tokenizer does not say how many tokens a prompt may have (nor can "
            f'diffusers draw with it): put "model_max_length": {most}, as many as its text encoder '
            "reads, into tokenizer/tokenizer_config.json"
        )
    if type(limit) is not int or not 0 < limit <= most:
        raise CheckpointError(
            f"model={model}: its tokenizer has model_max_length={str(limit)[:80]}, and its text "
            f"encoder reads {most} tokens: want 1 to {most} in tokenizer/tokenizer_config.json"
        )


def _scaling_factor(model: str, found: Any) -> float:
    if type(found) not in (int, float) or not (0 < found < math.inf):
        raise CheckpointError(
            f"model={model}: its vae has scaling_factor={str(found)[:80]}: want a positive number, "
            "as 0.18215 of Stable Diffusion 1.x"
        )
    return float(found)
