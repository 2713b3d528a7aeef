"""Loading CLIP models that were found."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hw2.claims import refuse_infinite, refuse_larger
from hw2.clip.finding import SCHEMES, ClipSource, own_network
from hw2.clip.refusals import telling
from hw2.clip.tokenizing import load_tokenizer
from hw2.errors import CheckpointError
from hw2.weights import load_claimed, read_meta, refuse_replaced

# In what torch.load says of files that are no state_dict.
TORN = ("weights_only", "Weights only", "KeyError: ", "EOFError: ")


@dataclass(frozen=True)
class LoadedClip:
    """A model in evaluation mode and its tokenizer."""

    net: Any
    tokenize: Callable[[list[str]], Tensor]

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before the softmax: 1 / temperature."""
        return float(self.net.logit_scale.detach().exp())


def load_trained(weights: Path) -> LoadedClip:
    """The averaged weights of a training of jobs.train_clip, on the processor.

    Raises CheckpointError for weights that are torn or do not fit.
    """
    from hw2.models.clip import build_clip, clip_tokenizer  # open_clip takes seconds to import

    model_cfg = own_network(read_meta(weights))
    net = load_claimed(weights, _sizes(model_cfg), lambda: build_clip(model_cfg, seed=0))
    return LoadedClip(net, clip_tokenizer(model_cfg))


@contextlib.contextmanager
def _numbers_left_out(source: ClipSource) -> Iterator[None]:
    """OpenAI's state_dicts hold three sizes beside the weights: open_clip drops those of a program.

    Saved as the tensors that we advise to make of it, they would not fit. Raises CheckpointError in
    the block for such weights in a network of another activation, where OpenAI's is known.
    """
    from open_clip import factory, list_models

    load, theirs = factory.load_state_dict, f"{source.model}-quickgelu"

    def without(*args: Any, **kwargs: Any) -> dict[str, Any]:
        sizes = ("input_resolution", "context_length", "vocab_size")
        found = load(*args, **kwargs)
        if all(name in found for name in sizes) and theirs in list_models():
            raise CheckpointError(
                f"{source.weights}: are OpenAI's weights, whose network has another activation "
                f"than {source.model}: give --model {theirs}"
            )
        return {name: value for name, value in found.items() if name not in sizes}

    factory.load_state_dict = without
    try:
        yield
    finally:
        factory.load_state_dict = load


def load_clip(source: ClipSource, device: torch.device | None = None) -> LoadedClip:
    """Load the model on `device` (default the processor), in float32, ready to evaluate.

    Raises CheckpointError for weights that are torn, hold code, do not fit, or are no longer those
    that were found.
    """
    loaded = _load(source, device or torch.device("cpu"))
    if source.weights.is_file():  # a tag's may lie elsewhere on the machine of an actor
        refuse_replaced(source.weights, source.weights_hash)
    return loaded


def _load(source: ClipSource, device: torch.device) -> LoadedClip:
    if source.model is None:
        trained = load_trained(source.weights)
        trained.net.to(device)
        return trained
    import open_clip

    with telling(partial(_unfit, source)), _numbers_left_out(source):
        if source.model.startswith(SCHEMES):
            refuse_larger(
                [source.weights],
                _sizes(json.loads(source.network)),
                lambda: open_clip.create_model(
                    source.model, load_weights=False, pretrained_text=False, device="meta"
                ),
            )
        # open_clip only warns if a tag's weights were trained with another activation.
        tag = open_clip.get_pretrained_cfg(source.model, source.pretrained or "")
        net = open_clip.create_model(
            source.model,
            source.pretrained,
            device=device,
            force_quick_gelu=bool(tag.get("quick_gelu")),
            pretrained_text=False,
            require_pretrained=True,
            weights_only=True,
        )
    # Not the buffers: the mask of the text tower is of infinities.
    refuse_infinite(str(source.weights), dict(net.named_parameters()))
    return LoadedClip(net.eval(), load_tokenizer(source))


def _unfit(source: ClipSource, reason: str) -> str:
    """What is said of weights that open_clip cannot load for `reason`, in words of a way out."""
    way = "give its own, or the --model that these are of"
    if "TorchScript" in reason:  # torch advises to load it unsafely
        reason = "it is a TorchScript archive, a program beside tensors, as OpenAI's first files"
        way = "give the tag openai, or save the state_dict() of what you trust as .safetensors"
    elif "visual_projection.weight" in reason:
        reason = "its weights have transformers' names, as of its CLIPModel"
        way = "give the same weights as open_clip has them: a tag, or its file"
    elif any(word in reason for word in TORN):
        reason = "the file is torn, or holds more than tensors"
        way = "give a state_dict alone, best as .safetensors"
    return f"{source.weights}: no weights that {source.model} can load ({reason}): {way}"


def _sizes(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a network is as large as; vocabularies alone are large anyhow."""
    return {**model_cfg, "text_cfg": model_cfg["text_cfg"] | {"vocab_size": 0}}
