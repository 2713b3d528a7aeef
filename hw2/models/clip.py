"""CLIP as open_clip builds it, from its own JSON form of a network."""

from collections.abc import Mapping
from typing import Any

import open_clip
import torch


def build_clip(model_cfg: Mapping[str, Any], seed: int) -> open_clip.CLIP:
    """A fresh CLIP whose initial weights depend on `seed` alone.

    Args:
        model_cfg: open_clip's embed_dim, vision_cfg and text_cfg.
        seed: of the weights.

    Returns:
        A network from pictures (b, 3, h, w) and tokens (b, context) to their unit embeddings
        (b, embed_dim) and the scale of their products.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(**model_cfg)


def clip_tokenizer(model_cfg: Mapping[str, Any]) -> open_clip.SimpleTokenizer:
    """CLIP's own tokenizer: texts to int64 (n, context), cut off where they are longer."""
    return open_clip.SimpleTokenizer(context_length=model_cfg["text_cfg"]["context_length"])
