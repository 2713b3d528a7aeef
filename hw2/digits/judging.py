"""Judges: loading one (ours or the course's), reading pictures with it."""

from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from hw2.data.files import no_file
from hw2.data.torch_files import load_torch, refuse_unusual, state_in, unwrapped
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.objective import DigitBatch
from hw2.errors import CheckpointError, DataError
from hw2.locate import find_model
from hw2.metrics.digit_metrics import JudgedPictures
from hw2.models.judge import CourseClassifier, Judge, build_judge
from hw2.pixels import crops, to_unit
from hw2.weights import fill, load_weights, read_meta

MAX_SHIFT = 2
JUDGE_SIZE = 28
MAX_BYTES = 64 * 2**20  # of the course's Classifier.pth, which has 4


def shifted(images: UInt8[Tensor, "b 3 h w"], random: CounterRandom) -> Tensor:
    """Each picture moved by up to MAX_SHIFT pixels in both directions, edges repeated."""
    height, width = images.shape[-2:]
    span = 2 * MAX_SHIFT + 1
    places = random.integers(Stream.AUGMENT, span * span).to(images.device)
    padded = F.pad(images.float(), [MAX_SHIFT] * 4, mode="replicate")
    return crops(padded, places // span, places % span, height, width).to(images.dtype)


def judge_objective(
    net: nn.Module, batch: DigitBatch, random: CounterRandom
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy (a scalar) with smoothed labels on slightly shifted pictures; accuracy."""
    logits, _ = net(to_unit(shifted(batch.images, random)), batch.domain)
    loss = F.cross_entropy(logits.float(), batch.digit, label_smoothing=0.1)
    return loss, {"accuracy": (logits.argmax(1) == batch.digit).float().mean()}


def find_judge(judge: str) -> Path:
    """The weights file meant by the setting `judge`. Raises CheckpointError if there is none."""
    return find_model(judge, "judge", "the course's Classifier.pth")


def load_judge(path: Path) -> Judge:
    """The judge in `path`: our `final.safetensors` or the course's `Classifier.pth`.

    The course's file reads both domains with one classifier. Raises CheckpointError if it is
    neither, or holds anything but tensors (it is never unpickled beyond them).
    """
    if path.suffix == ".safetensors":
        if read_meta(path).get("kind") != "judge":
            raise CheckpointError(f"{path}: holds no judge; train one with jobs.train_judge")
        judge = build_judge(0)
        load_weights(path, judge, "ema")
        return judge.eval()
    if not path.is_file():
        raise CheckpointError(f"{path}: {no_file(path)}")
    try:
        state = state_in(load_torch(path, MAX_BYTES))
        tensors = {str(name): torch.as_tensor(value) for name, value in dict(state).items()}
        refuse_unusual(tensors.values(), MAX_BYTES)
    except MemoryError:
        raise
    except Exception as error:  # whatever is in it is not what is wanted
        why = f" ({error})" if isinstance(error, DataError) else ""
        raise CheckpointError(
            f"{path}: not the course's Classifier.pth{why}: want a torch file that holds nothing "
            "but a state_dict's tensors, as they are or as {'state_dict': ...}"
        ) from None
    classifier = CourseClassifier()
    fill(classifier, unwrapped(tensors), path)
    return Judge([classifier, classifier]).eval()


def at_judge_size(images: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 3 s s"]:
    """Pictures as a judge sees them: those of another size averaged over areas, rounded."""
    size = (JUDGE_SIZE, JUDGE_SIZE)
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images.float(), size, mode="area").round().to(images.dtype)


@torch.no_grad()
def judge_pictures(
    judge: Judge,
    images: UInt8[Tensor, "n 3 h w"],
    digits: Int64[Tensor, " n"],
    domains: Int64[Tensor, " n"],
    *,
    batch_size: int = 500,
) -> JudgedPictures:
    """What `judge` reads on pictures that are meant to show `digits` of `domains`.

    Pictures of another size than the judge's are brought to it first.
    """
    images = at_judge_size(images)
    device = next(judge.parameters()).device
    predictions, features = [], []
    for part, of in zip(images.split(batch_size), domains.split(batch_size), strict=True):
        logits, found = judge(to_unit(part.to(device)), of.to(device))
        predictions.append(logits.argmax(1).cpu())
        features.append(found.float().cpu())
    pixels = to_unit(images).flatten(1)
    return JudgedPictures(torch.cat(predictions), digits, domains, torch.cat(features), pixels)
