"""What a face training is measured by."""

import pytest
import torch
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.objective import DenoisingObjective, PictureBatch
from hw2.diffusion.schedule import linear_schedule
from hw2.faces.training import PART, FaceLoss


class Says(nn.Module):
    """Predicts no noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return 0 * xt + self.weight


def test_each_picture_counts_alike_also_in_a_part_of_one() -> None:
    objective, net, count = DenoisingObjective(linear_schedule(100)), Says(), PART + 1
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        found = FaceLoss(objective, images, seed=3)(net)["eval/loss"]
        random = CounterRandom(3, 0, range(count))
        whole, _ = objective(net, PictureBatch(images), random)
    assert found == pytest.approx(float(whole), rel=1e-5)
