"""Finding CLIP models: open_clip's by tag or file, and those trained here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw2.claims import Claims
from hw2.clip.configs import preprocess_of, published, refuse_tokenizer_words
from hw2.clip.preprocessing import Preprocess
from hw2.clip.refusals import fetching
from hw2.data.files import read_json, sha256_of
from hw2.disclosure import describe
from hw2.errors import CheckpointError, ConfigError, nearest
from hw2.locate import find_model
from hw2.lock import refuse_at_work
from hw2.settings.clip import VOCABULARY, ClipNetworkConfig
from hw2.weights import read_meta

DEFAULT = "asset:clip"
SCHEMES = ("local-dir:", "hf-hub:")
TOKENIZER_SUFFIXES = (".json", ".model", ".txt")
_OTHERS = (
    "give a run of jobs.train_clip, or say by --model which open_clip model the weights are of"
)


@dataclass(frozen=True)
class ClipSource:
    """A model that was found and is not loaded yet; light, to be sent to actors.

    `model` is open_clip's name, None for one trained here; `pretrained` its tag or weights file,
    None where the model brings its own. `weights` is the file that this means on this machine, and
    `weights_hash` its sha256. `network` is open_clip's configuration as JSON: the same weights mean
    something else to another activation or number of heads. Of a folder that brings a tokenizer it
    has a hash of that too.
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

    def embedding_key(self, precision: str) -> str:
        """What decides an embedding but the picture or the prompts (see `EmbeddingStore`)."""
        return f"{self.weights_hash} {self.network} {self.preprocess} {precision}"


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
        hint = nearest(model, open_clip.list_models()) or "open_clip.list_models() has them"
        raise ConfigError(f"model={model}: open_clip has no such model: {hint}")
    if pretrained is None:
        raise ConfigError(f"model={model} needs --pretrained: {_tags(model)}, or a weights file")
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        with fetching(f"model={model} pretrained={pretrained}"):
            weights = Path(open_clip.download_pretrained(tag))
    else:
        weights = Path(pretrained).expanduser().absolute()  # workers run in folders of their own
        if pretrained.startswith(("asset:", "run:")) or weights.is_dir():
            raise ConfigError(
                f"model={model}: {pretrained} is no weights file: of a model trained here leave "
                "model out, of a folder as open_clip pushes it give --model local-dir:FOLDER alone"
            )
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
    path = find_model(pretrained, "pretrained", "with --model a tag of open_clip")
    try:
        meta = read_meta(path) if path.suffix == ".safetensors" else None
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {_OTHERS}") from None
    kind = meta.get("kind") if meta else None
    if meta is None or kind != "clip":
        raise CheckpointError(
            f"pretrained={pretrained}: not weights of jobs.train_clip"
            f"{f' but of a {kind}' * bool(kind)}: {_OTHERS}"
        )
    model_cfg = own_network(meta)
    try:
        size = {"size": model_cfg["vision_cfg"]["image_size"]}
        preprocess = Preprocess.of_config(meta["preprocess_cfg"] | size)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise meta.false("preprocess_cfg", error) from None
    title = Path(pretrained).name.removeprefix("asset:")
    network = _json(model_cfg)
    return ClipSource(title, None, str(path), preprocess, path, sha256_of(path), network)


def own_network(meta: Claims) -> dict[str, Any]:
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
    folder = Path(place).expanduser().absolute()
    if kind == "local-dir" and folder.name == "open_clip":  # as jobs.train_clip leaves it in OUT
        refuse_at_work(folder.parent)
    try:
        if kind == "local-dir":
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
    weights, about = Path(found), config["model_cfg"]
    if kind == "local-dir" and about["text_cfg"].get("hf_tokenizer_name"):
        about = about | {"tokenizer_files": _tokenizer_hash(folder)}
    return ClipSource(place, model, None, preprocess, weights, sha256_of(weights), _json(about))


def _tokenizer_hash(folder: Path) -> str:
    """sha256 over the files of a folder that transformers may read its tokenizer from."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix in TOKENIZER_SUFFIXES]
    sums = [[path.name, sha256_of(path)] for path in found if path.is_file()]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()
