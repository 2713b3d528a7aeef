"""What samplers ask of a device beside their work: nothing that the processor must wait for.

But UniPC, which diffusers writes so.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.samplers import sample
from hw2.diffusion.schedule import linear_schedule


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
