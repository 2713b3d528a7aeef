"""Tokenizers of CLIP models, loaded without the models, and how much of a text they read."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int64
from torch import Tensor

from hw2.clip.refusals import telling

if TYPE_CHECKING:
    from hw2.clip.loading import ClipSource

Tokenize = Callable[..., Tensor]  # texts, and context_length unless it is the model's, to ids
LONGEST_TEXT = 4096  # tokens that are counted


def load_tokenizer(source: "ClipSource") -> Tokenize:
    """The tokenizer of a model, without its weights. Raises CheckpointError if there is none."""
    if source.model is None:
        length = json.loads(source.network)["text_cfg"]["context_length"]
        return _simple_tokenizer(length)
    import open_clip

    def unfit(reason: str) -> str:
        return (
            f"model={source.model}: its tokenizer cannot be loaded ({reason}): it comes over the "
            "network, or lies in the folder of a local-dir"
        )

    with telling(unfit):
        return open_clip.get_tokenizer(source.model)


def _simple_tokenizer(length: int) -> Tokenize:
    """open_clip's file of tokenizers by itself: the package takes seconds and 260 MB."""
    package = importlib.util.find_spec("open_clip")
    assert package and package.origin
    spec = importlib.util.spec_from_file_location(
        "open_clip_tokenizer", Path(package.origin).with_name("tokenizer.py")
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer(context_length=length)


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
