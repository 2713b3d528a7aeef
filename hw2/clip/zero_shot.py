"""Zero-shot classification: classes from prompts, pictures by the nearest class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

TEXTS_AT_ONCE = 256


@torch.no_grad()
def class_embeddings(
    model: Any,
    tokenize: Callable[[list[str]], Tensor],
    prompts: Sequence[Sequence[str]],
) -> Float[Tensor, "classes d"]:
    """One unit vector a class (Radford et al. 2021, section 3.1.4).

    The unit vectors of a class's prompts are averaged, and the mean is normalised again.

    Args:
        model: an open_clip model; its `encode_text` is used, on its own device.
        tokenize: texts to token ids.
        prompts: the prompts of each class, one or more.
    """
    device = next(model.parameters()).device
    texts = [text for own in prompts for text in own]
    parts = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        tokens = tokenize(texts[start : start + TEXTS_AT_ONCE]).to(device)
        parts.append(F.normalize(model.encode_text(tokens).float(), dim=-1))
    means = [own.mean(0) for own in torch.cat(parts).split([len(own) for own in prompts])]
    return F.normalize(torch.stack(means), dim=-1)


@dataclass(frozen=True)
class Ranking:
    """The k most probable classes of each picture, best first, with their probabilities."""

    classes: Int64[Tensor, "n k"]
    probabilities: Float[Tensor, "n k"]


def rank(
    pictures: Float[Tensor, "n d"], classes: Float[Tensor, "c d"], scale: float, k: int = 5
) -> Ranking:
    """The k (at most c) best classes of each picture; both sides are unit vectors.

    Probabilities are the softmax over all classes of `scale` times the cosine, as in training
    (Radford et al. 2021, figure 3).
    """
    probabilities = (scale * pictures @ classes.T).softmax(dim=-1)
    top = probabilities.topk(min(k, len(classes)), dim=-1)
    return Ranking(top.indices, top.values)
