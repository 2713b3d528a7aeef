"""What the loss of a digit training is measured on."""

import pytest
import torch
from torch import Tensor, nn

from hw2.data.digits import DigitSplit
from hw2.diffusion.counter import CounterRandom
from hw2.diffusion.objective import DenoisingObjective, DigitBatch
from hw2.digits.ddpm_training import NUM_HELD_OUT, HeldOutLoss


class Seen(DenoisingObjective):
    """An objective that keeps what it is given."""

    def __init__(self) -> None:
        self.digits: list[int] = []
        self.domains: list[int] = []

    def __call__(
        self, net: nn.Module, batch: DigitBatch, random: CounterRandom
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.digits += batch.digit.tolist()
        self.domains += batch.domain.tolist()
        return torch.tensor(1.0), {}


def seen(num_val: int, seed: int = 0) -> Seen:
    """Of a val split with labels in the order of prepare_data's tables."""
    digits, domains = (torch.arange(num_val) % 10).repeat(2), torch.arange(2 * num_val) // num_val
    images = torch.zeros(2 * num_val, 3, 1, 1, dtype=torch.uint8)
    objective = Seen()
    loss = HeldOutLoss(objective, DigitSplit(images, digits, domains, "", ()), seed)
    assert loss(nn.Linear(1, 1)) == {"eval/loss": 1.0}
    return objective


@pytest.mark.parametrize("num_val", [500, 600, 1100, 1500, 2000, 2560])
def test_all_digits_of_both_domains_are_measured_on(num_val: int) -> None:
    found = seen(num_val)
    assert len(found.digits) == NUM_HELD_OUT
    assert all(found.digits.count(digit) > NUM_HELD_OUT / 20 for digit in range(10))
    assert all(found.domains.count(domain) > NUM_HELD_OUT / 3 for domain in range(2))
    assert vars(seen(num_val, seed=1)) == vars(found)


def test_a_small_split_is_measured_on_whole() -> None:
    assert seen(20).digits == [*range(10)] * 4
