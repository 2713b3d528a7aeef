"""Tokenizers of CLIP models, loaded without the models, and how much of a text they read."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from hw2.clip.finding import ClipSource
from hw2.clip.refusals import telling

Tokenize = Callable[..., Tensor]  # texts, and context_length unless it is the model's, to ids
LONGEST_TEXT = 4096  # tokens that are counted


def load_tokenizer(source: ClipSource) -> Tokenize:
    """The tokenizer of a model, without its weights.

    Raises CheckpointError if there is none, or it wants to run code of its own.
    """
    text = json.loads(source.network)["text_cfg"]
    if source.model is None:
        return _simple_tokenizer(text["context_length"])

    def unfit(reason: str) -> str:
        return (
            f"model={source.model}: its tokenizer cannot be loaded ({reason}): it comes over the "
            "network, or lies in the folder of a local-dir"
        )

    named = bool(text.get("hf_tokenizer_name"))
    with telling(unfit):
        if source.pretrained is None and not named:  # its file may be another one by now
            words = text.get("tokenizer_kwargs", {})
            return _simple_tokenizer(text.get("context_length", 77), **words)
        import open_clip

        # The file's own word for it would else be taken, or the user be asked.
        return open_clip.get_tokenizer(
            source.model, **({"trust_remote_code": False} if named else {})
        )


def _simple_tokenizer(length: int, **words: Any) -> Tokenize:
    """open_clip's file of tokenizers by itself: the package takes seconds and 260 MB."""
    package = importlib.util.find_spec("open_clip")
    assert package and package.origin
    spec = importlib.util.spec_from_file_location(
        "open_clip_tokenizer", Path(package.origin).with_name("tokenizer.py")
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer(context_length=length, **words)


def context_length(tokenize: Tokenize) -> int:
    """The tokens that the model reads, start and end among them."""
    return int(tokenize([""]).shape[1])


def count_tokens(
    tokenize: Tokenize, texts: Sequence[str], most: int = LONGEST_TEXT
) -> Int64[Tensor, " n"]:
    """Tokens of each text with start and end, of which `most` are counted.

    An end that is also what rows are filled up with, as SigLIP's, is not counted.
    """
    return counts_of_rows(tokenize([*texts, ""], context_length=most))[:-1]


def counts_of_rows(rows: Int64[Tensor, "n k"]) -> Int64[Tensor, " n"]:
    """Tokens of each row; the last must be that of an empty text."""
    places = torch.arange(1, rows.shape[1] + 1)
    return (places * (rows != rows[-1, -1])).amax(1)
