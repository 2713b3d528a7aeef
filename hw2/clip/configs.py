"""What open_clip's configurations want done to a picture and a text; it imports for seconds."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hw2.clip.preprocessing import Preprocess
from hw2.disclosure import warn
from hw2.errors import CheckpointError

_KEYS = ("mean", "std", "interpolation", "resize_mode")
# Of open_clip's own tokenizers. Others reach transformers, which by one of them runs a folder's
# Python, or open files.
_TOKENIZER_KEYS = ("clean", "language", "strip_sep_token")


def refuse_tokenizer_words(model: str, text_cfg: Mapping[str, Any]) -> None:
    """Raise CheckpointError for `tokenizer_kwargs` that none of open_clip's models has."""
    for key in text_cfg.get("tokenizer_kwargs", {}):
        if key not in _TOKENIZER_KEYS:
            raise CheckpointError(
                f"model={model}: open_clip_config.json has tokenizer_kwargs {str(key)[:40]!r}, "
                f"and such words can run code of its own: want {', '.join(_TOKENIZER_KEYS)} alone"
            )


def preprocess_of(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]) -> Preprocess:
    """As open_clip.create_model puts the two together."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged = merge_preprocess_dict(asdict(PreprocessCfg()), dict(preprocess_cfg))
    return Preprocess.of_config(merged | {"size": model_cfg["vision_cfg"].get("image_size", 224)})


def published(model: str) -> dict[str, Any]:
    """The preprocess_cfg of all published weights of `model`, for weights in a file.

    open_clip takes OpenAI's for any file, which SigLIP's networks, for one, were not trained with.
    Where a model's tags differ, or it has none, that stays; the former with a warning.
    """
    import open_clip

    kinds = dict[tuple[Any, ...], list[str]]()
    for tag in open_clip.list_pretrained_tags_by_model(model):
        found = open_clip.get_pretrained_cfg(model, tag)
        kinds.setdefault(tuple(found.get(key) for key in _KEYS), []).append(tag)
    if len(kinds) == 1:
        agreed = zip(_KEYS, next(iter(kinds)), strict=True)
        return {key: value for key, value in agreed if value is not None}
    if kinds:
        few = min(kinds.values(), key=len)
        warn(
            f"model={model}: its published weights want pictures prepared in {len(kinds)} ways, "
            f"and a file does not say which; OpenAI's is taken: for weights like {few[0]} give "
            "that tag, or --model local-dir:FOLDER with open_clip_config.json"
        )
    return {}
