"""What samplers and objectives ask of a device beside their work: nothing to be waited for.

But UniPC, which diffusers writes so.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hw2.clip.contrastive import augmented
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.objective import DigitBatch, LabelledObjective
from hw2.diffusion.samplers import sample
from hw2.diffusion.schedule import linear_schedule
from hw2.digits.judging import shifted
from hw2.text2image.denoising import LatentBatch, LatentObjective


class Copies(TorchDispatchMode):
    """Counts copies between the processor and the device "meta", whose tensors hold nothing.

    To read a number of such a tensor fails, as an `if` on it would: a GPU would be waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, call: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = call(*args, **(kwargs or {}))
        given = [one for one in args if isinstance(one, Tensor) and one.dim()]
        copied = [one for one in args if isinstance(one, Tensor)] if "copy" in str(call) else []
        if isinstance(made, Tensor):
            self.count += any(one.device != made.device for one in given + copied)
        return made


@pytest.mark.parametrize(("name", "steps"), [("ddim", 5), ("ddpm", 10), ("dpmpp", 5)])
@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.5, 1.0)])
def test_no_step_copies_to_the_device(name: str, steps: int, interval: tuple[float, float]) -> None:
    schedule, start = linear_schedule(10), torch.empty(2, 3, 8, 8, device="meta")
    label = torch.zeros(2, dtype=torch.int64, device="meta")

    def net(xt: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return xt * t.view(-1, 1, 1, 1) * label.view(-1, 1, 1, 1)

    denoise = GuidedDenoiser(
        net, schedule, Guidance(2, interval), "v_prediction", (label,), (label,)
    )
    fresh = torch.zeros_like(start)
    with Copies() as copies:
        for state in sample(
            name, denoise, schedule, start, lambda t: fresh, num_inference_steps=steps
        ):
            assert state.xt.device == start.device and state.xt.dtype == torch.float32
    assert copies.count == 0


class Numbers(CounterRandom):
    """Of a training on "meta", which makes its random numbers itself."""

    def normal(self, stream: Stream, *shape: int) -> Tensor:
        return torch.empty(2, *shape, device="meta")

    def uniform(self, stream: Stream) -> Tensor:
        return torch.empty(2, device="meta")

    def integers(self, stream: Stream, high: int) -> Tensor:
        return torch.empty(2, dtype=torch.int64, device="meta")


class FirstOf(nn.Module):
    """Answers with what it is given first."""

    def forward(self, xt: Tensor, *told: Tensor) -> Tensor:
        return xt


def labels() -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="meta")


def pictures() -> Tensor:
    return torch.empty(2, 3, 28, 28, dtype=torch.uint8, device="meta")


SCHEDULE = linear_schedule(10)
OBJECTIVES = {
    "uniform": (
        LabelledObjective(SCHEDULE, min_snr_gamma=5.0),
        DigitBatch(pictures(), labels(), labels()),
    ),
    "importance": (
        LabelledObjective(SCHEDULE, min_snr_gamma=5.0, timesteps="importance"),
        DigitBatch(pictures(), labels(), labels()),
    ),
    "latents": (
        LatentObjective(SCHEDULE, caption_dropout=0.5, empty=torch.zeros(7, dtype=torch.int64)),
        LatentBatch(
            torch.empty(2, 4, 8, 8, device="meta"),
            torch.empty(2, 7, dtype=torch.int64, device="meta"),
            torch.empty(2, device="meta"),
        ),
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_after_the_first_no_step_of_a_training_copies(name: str) -> None:
    objective, batch = OBJECTIVES[name]
    counts = []
    for _ in range(2):
        with Copies() as copies:
            objective(FirstOf(), batch, Numbers(0, 0, range(2)))
        counts.append(copies.count)
    assert counts[0] > 0  # tables that stay there
    assert counts[1] == 0


def test_shifting_a_picture_reads_nothing_back() -> None:
    with Copies() as copies:
        assert shifted(pictures(), Numbers(0, 0, range(2))).device.type == "meta"
        assert augmented(pictures(), Numbers(0, 0, range(2))).device.type == "meta"
    assert copies.count == 0
