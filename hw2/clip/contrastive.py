"""CLIP's objective over the whole batch, whoever computes which part of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from hw2.data.batches import CaptionBatch
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.pixels import crops, to_unit

MAX_SHIFT = 4
MAX_LOGIT_SCALE = 100.0  # Radford et al. 2021, section 2.5


def contrastive_loss(
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "n d"],
    captions: Int64[Tensor, " n"],
    scale: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Symmetric cross-entropy between pictures and captions (Radford et al. 2021, figure 3).

    All that share a caption are each other's positives (Yang et al. 2022, UniCL, eq. 2-4, with
    the targets of a row adding up to 1). Where all captions differ it is CLIP's own loss.

    Args:
        images, texts: unit embeddings; row i of both belongs together.
        captions: equal numbers for equal captions.
        scale: of the products, the inverse temperature.

    Returns:
        The loss, and the share of pictures nearest to their own caption.
    """
    logits = scale * images @ texts.T
    same = captions[:, None] == captions
    targets = same.to(logits.dtype) / same.sum(1, keepdim=True)
    loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    right = captions[logits.argmax(1)] == captions
    return loss, right.to(logits.dtype).mean()


class _SumOverWorkers(torch.autograd.Function):
    """The sum over all workers, forwards and, of their gradients, backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        torch.distributed.all_reduce(total)
        return total


def whole_batch(part: Tensor, samples: Sequence[int], batch_size: int) -> Tensor:
    """All workers' rows, (batch_size, ..), of which this one has `part` at positions `samples`.

    Gradients go back to the worker whose row it is, summed over the workers.
    """
    if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return part
    assert isinstance(samples, range)  # as the training loop gives them; made without a copy
    place = torch.arange(samples.start, samples.stop, samples.step, device=part.device)
    rows = part.new_zeros(batch_size, *part.shape[1:]).index_copy(0, place, part)
    return _SumOverWorkers.apply(rows)


def augmented(images: UInt8[Tensor, "b 3 h w"], random: CounterRandom) -> Float[Tensor, "b 3 h w"]:
    """Pictures in [-1, 1], mirrored or not and moved by up to MAX_SHIFT pixels, edges repeated."""
    height, width = images.shape[-2:]
    span = 2 * MAX_SHIFT + 1
    padded = F.pad(to_unit(images), [MAX_SHIFT] * 4, mode="replicate")
    places = random.integers(Stream.AUGMENT, 2 * span * span).to(images.device)
    moved = crops(padded, places // span % span, places % span, height, width)
    return torch.where((places // (span * span) > 0).view(-1, 1, 1, 1), moved.flip(3), moved)


@dataclass(frozen=True)
class ContrastiveObjective:
    """`contrastive_loss` over the global batch of `batch_size`, on augmented pictures.

    Every worker computes the whole loss from its own rows and the others'. Each row's gradient
    is then the sum of what all workers find, weighed by their shares: once the whole.
    """

    batch_size: int

    def __call__(
        self, net: nn.Module, batch: CaptionBatch, random: CounterRandom
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (a scalar), the share read right in the batch, and the scale of the logits."""
        pictures = augmented(batch.images, random)
        images, texts, scale = net(pictures, batch.tokens)
        with torch.autocast(batch.images.device.type, enabled=False):
            # One exchange of both: workers must not meet in another order.
            both = torch.cat([images, texts], 1)
            both = both if both.dtype == torch.float64 else both.float()
            images, texts = whole_batch(both, random.samples, self.batch_size).chunk(2, 1)
            captions = whole_batch(batch.captions, random.samples, self.batch_size)
            scale = scale.clamp(max=MAX_LOGIT_SCALE).to(images.dtype)
            loss, right = contrastive_loss(images, texts, captions, scale)
        return loss, {"batch_accuracy": right.detach(), "logit_scale": scale.detach()}
