"""The error on fixed noises, in parts."""

import pytest
import torch
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.schedule import scaled_linear_schedule
from hw2.text2image.denoising import FixedNoiseLoss, LatentBatch, LatentObjective


class Counting(nn.Module):
    """Predicts no noise at all, and keeps how many samples it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(())), list[int]()

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.weight * x


@pytest.mark.parametrize(("side", "parts"), [(16, [50, 2]), (64, [3, 3, 1]), (256, [1, 1])])
def test_larger_latents_are_judged_in_smaller_parts(side: int, parts: list[int]) -> None:
    count, net = sum(parts), Counting()
    latents = torch.randn(count, 4, side, side, generator=torch.Generator().manual_seed(0))
    batch = LatentBatch(latents, torch.zeros(count, 77, dtype=torch.int64), torch.ones(count))
    objective = LatentObjective(scaled_linear_schedule(1000))
    found = FixedNoiseLoss(objective, batch, 3).errors(net)
    assert net.seen == parts
    whole = objective.errors(net, batch, CounterRandom(3, 0, range(count)))
    torch.testing.assert_close(found, whole.detach())
