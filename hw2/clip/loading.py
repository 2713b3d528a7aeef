"""Finding and loading CLIP models: open_clip's by tag or file, and those trained here."""

import contextlib
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hw2.checkpoint import load_weights, read_meta
from hw2.claims import Claims, refuse_false, refuse_infinite
from hw2.clip.configs import preprocess_of, published, refuse_tokenizer_words
from hw2.clip.preprocessing import Preprocess
from hw2.clip.refusals import fetching, telling
from hw2.clip.tokenizing import load_tokenizer
from hw2.data.files import read_json, sha256_of
from hw2.disclosure import describe
from hw2.errors import CheckpointError, ConfigError
from hw2.locate import FINAL, find_model
from hw2.settings.clip import VOCABULARY, ClipNetworkConfig

DEFAULT = "asset:clip"
SCHEMES = ("local-dir:", "hf-hub:")
# In what torch.load says of files that are no state_dict.
TORN = ("weights_only", "Weights only", "KeyError: ", "EOFError: ")
_OTHERS = (
    "give a run of jobs.train_clip, or say by --model which open_clip model the weights are of"
)


@dataclass(frozen=True)
class ClipSource:
    """A model that was found and is not loaded yet; light, to be sent to actors.

    `model` is open_clip's name, None for one trained here; `pretrained` its tag or weights file,
    None where the model brings its own. `weights` is the file that this means on this machine, and
    `weights_hash` its sha256. `network` is open_clip's configuration as JSON: the same weights mean
    something else to another activation or number of heads.
    """

    title: str
    model: str | None
    pretrained: str | None
    preprocess: Preprocess
    weights: Path
    weights_hash: str
    network: str

    @property
    def hashes(self) -> dict[str, str]:
        """What predictions are made from, by name."""
        about = hashlib.sha256(f"{self.network} {self.preprocess}".encode()).hexdigest()
        return {"weights": self.weights_hash, "network": about}


@dataclass(frozen=True)
class LoadedClip:
    """A model in evaluation mode and its tokenizer."""

    net: Any
    tokenize: Callable[[list[str]], Tensor]

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before the softmax: 1 / temperature."""
        return float(self.net.logit_scale.detach().exp())


def find_clip(model: str | None, pretrained: str | None) -> ClipSource:
    """What the two settings mean. A tag's weights are fetched into open_clip's own cache.

    Raises ConfigError for a model or tag that open_clip does not have, or for settings that
    contradict each other, and CheckpointError for weights that are not there or are not fetched.
    """
    if model is None:
        return _trained_here(pretrained or DEFAULT)
    import open_clip
    from open_clip.factory import parse_model_name

    if model.startswith(SCHEMES):
        if pretrained is not None:
            raise ConfigError(f"pretrained={pretrained}: {model} has its own weights: leave it out")
        return _in_folder(model)
    model = parse_model_name(model)[1].replace("/", "-")
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, open_clip.list_models(), 1, 0.3)
        hint = f"did you mean {near[0]}?" if near else "open_clip.list_models() has them"
        raise ConfigError(f"model={model}: open_clip has no such model: {hint}")
    if pretrained is None:
        raise ConfigError(f"model={model} needs --pretrained: {_tags(model)}, or a weights file")
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        with fetching(f"model={model} pretrained={pretrained}"):
            weights = Path(open_clip.download_pretrained(tag))
    else:
        weights = Path(pretrained).expanduser().absolute()  # workers run in folders of their own
        if pretrained.startswith(("asset:", "run:")) or (weights / FINAL).is_file():
            raise ConfigError(f"model={model}: {pretrained} has its own model: leave model out")
        if not weights.is_file():
            raise CheckpointError(
                f"pretrained={pretrained}: neither a file nor a tag of {model}: {_tags(model)}"
            )
        pretrained = str(weights)
    config = open_clip.get_model_config(model)
    title = f"{model} {weights.name if not tag else pretrained}"
    preprocess = preprocess_of(config, tag or published(model))
    quick_gelu = bool(tag.get("quick_gelu") or config.get("quick_gelu"))  # as load_clip has it
    network = _json(config | {"quick_gelu": quick_gelu})
    return ClipSource(title, model, pretrained, preprocess, weights, sha256_of(weights), network)


def _json(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def _tags(model: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    return f"one of {', '.join(tags[:8])}{', ..' * (len(tags) > 8)}" if tags else "it has no tags"


def _trained_here(pretrained: str) -> ClipSource:
    path = find_model(pretrained)
    try:
        kind = read_meta(path).get("kind") if path.suffix == ".safetensors" else None
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {_OTHERS}") from None
    if kind != "clip":
        raise CheckpointError(
            f"pretrained={pretrained}: not weights of jobs.train_clip"
            f"{f' but of a {kind}' * bool(kind)}: {_OTHERS}"
        )
    meta = read_meta(path)
    model_cfg = _own_network(meta)
    try:
        size = {"size": model_cfg["vision_cfg"]["image_size"]}
        preprocess = Preprocess.of_config(meta["preprocess_cfg"] | size)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise meta.false("preprocess_cfg", error) from None
    title = Path(pretrained).name.removeprefix("asset:")
    network = _json(model_cfg)
    return ClipSource(title, None, str(path), preprocess, path, sha256_of(path), network)


def _own_network(meta: Claims) -> dict[str, Any]:
    """The network that a file describes, in open_clip's words: of the kind trained here alone.

    open_clip's own words could make it fetch a network from elsewhere.
    """
    try:
        found = meta["model_cfg"]
        text = {key: value for key, value in found["text_cfg"].items() if key != "vocab_size"}
        described = {"embed_dim": found["embed_dim"], "vision": found["vision_cfg"], "text": text}
        own = ClipNetworkConfig.model_validate(described, strict=True).model_cfg()
        if own != found:
            raise ValueError(f"want its words alone, and vocab_size {VOCABULARY}")
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise meta.false("model_cfg", error) from None
    return own


def _in_folder(model: str) -> ClipSource:
    """local-dir: or hf-hub:, a configuration and weights side by side."""
    from open_clip import factory

    kind, _, place = model.partition(":")
    try:
        if kind == "local-dir":
            folder = Path(place).expanduser().absolute()
            model = f"local-dir:{folder}"
            config_file = folder / "open_clip_config.json"
            if not config_file.is_file():
                raise CheckpointError(
                    f"model={model}: {config_file} does not exist: want it and the weights beside "
                    "it, as open_clip pushes them to the hub"
                )
            config = read_json(config_file)
            found = factory._find_checkpoint_in_dir(folder)
        else:
            with fetching(f"model={model}"):
                config = factory._get_hf_config(place)
                found = factory.download_pretrained_from_hf(place)
        preprocess = preprocess_of(config["model_cfg"], config.get("preprocess_cfg", {}))
        refuse_tokenizer_words(model, config["model_cfg"]["text_cfg"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"model={model}: open_clip_config.json is broken ({describe(error)}): want "
            "open_clip's, with model_cfg and preprocess_cfg"
        ) from None
    if found is None:
        raise CheckpointError(
            f"model={model}: no weights beside open_clip_config.json: want "
            "open_clip_model.safetensors there"
        )
    weights, network = Path(found), _json(config["model_cfg"])
    return ClipSource(place, model, None, preprocess, weights, sha256_of(weights), network)


def load_trained(weights: Path) -> LoadedClip:
    """The averaged weights of a training of jobs.train_clip, on the processor.

    Raises CheckpointError for weights that are torn or do not fit.
    """
    from hw2.models.clip import build_clip, clip_tokenizer  # open_clip takes seconds to import

    model_cfg = _own_network(read_meta(weights))
    described = {**model_cfg, "text_cfg": model_cfg["text_cfg"] | {"vocab_size": 0}}
    refuse_false(weights, "ema", described, lambda: build_clip(model_cfg, seed=0))
    net = build_clip(model_cfg, seed=0)
    load_weights(weights, net, "ema")
    return LoadedClip(net.eval(), clip_tokenizer(model_cfg))


@contextlib.contextmanager
def _numbers_left_out() -> Iterator[None]:
    """OpenAI's state_dicts hold three sizes beside the weights: open_clip drops those of a program.

    Saved as the tensors that we advise to make of it, they would not fit.
    """
    from open_clip import factory

    load = factory.load_state_dict

    def without(*args: Any, **kwargs: Any) -> dict[str, Any]:
        sizes = ("input_resolution", "context_length", "vocab_size")
        return {name: value for name, value in load(*args, **kwargs).items() if name not in sizes}

    factory.load_state_dict = without
    try:
        yield
    finally:
        factory.load_state_dict = load


def load_clip(source: ClipSource, device: torch.device | None = None) -> LoadedClip:
    """Load the model on `device` (default the processor), in float32, ready to evaluate.

    Raises CheckpointError for weights that are torn, hold code, or do not fit.
    """
    device = device or torch.device("cpu")
    if source.model is None:
        trained = load_trained(source.weights)
        trained.net.to(device)
        return trained
    import open_clip

    def unfit(reason: str) -> str:
        way = "give its own, or the --model that these are of"
        if "TorchScript" in reason:  # torch advises to load it unsafely
            reason = (
                "it is a TorchScript archive, a program beside tensors, as OpenAI's first files"
            )
            way = "give the tag openai, or save the state_dict() of what you trust as .safetensors"
        elif any(word in reason for word in TORN):
            reason = "the file is torn, or holds more than tensors"
            way = "give a state_dict alone, best as .safetensors"
        return f"{source.weights}: no weights that {source.model} can load ({reason}): {way}"

    with telling(unfit), _numbers_left_out():
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
