"""The error in latents against a naive loop, and on fixed noises, in parts."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.schedule import scaled_linear_schedule
from hw2.text2image.denoising import LatentBatch, LatentObjective, fixed_noise_loss


class Counting(nn.Module):
    """Predicts no noise at all, and keeps how many samples it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(())), list[int]()

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.weight * x


class Reading(nn.Module):
    """A fixed function of all three inputs."""

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        return torch.sin(x + (0.1 * t + 0.5 * tokens[:, 1]).view(-1, 1, 1, 1))


def test_equals_a_naive_loop() -> None:
    schedule, count, random = scaled_linear_schedule(50), 12, CounterRandom(1, 2, range(12))
    objective = LatentObjective(schedule, caption_dropout=0.3, empty=torch.tensor([98, 99, 99]))
    latents = torch.randn(count, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    tokens, shares = torch.arange(3 * count).view(count, 3), torch.linspace(0.1, 1.9, count)
    loss, _ = objective(Reading(), LatentBatch(latents, tokens, shares), random)

    u, drop = random.uniform(Stream.TIMESTEP), random.uniform(Stream.LABEL_DROPOUT)
    noises, errors = random.normal(Stream.NOISE, 4, 2, 2).double().numpy(), []
    for i in range(count):
        t, said = int(float(u[i]) * 50), 99 if float(drop[i]) < 0.3 else int(tokens[i, 1])
        alpha_bar = float(np.prod(1 - schedule.betas.numpy()[: t + 1]))
        xt = np.sqrt(alpha_bar) * latents[i].double().numpy() + np.sqrt(1 - alpha_bar) * noises[i]
        error = np.mean((np.sin(xt + 0.1 * t + 0.5 * said) - noises[i]) ** 2)
        errors.append(float(shares[i]) * error)
    assert float(loss) == pytest.approx(float(np.mean(errors)), rel=1e-5)


@pytest.mark.parametrize(("side", "parts"), [(16, [50, 2]), (64, [3, 3, 1]), (256, [1, 1])])
def test_larger_latents_are_judged_in_smaller_parts(side: int, parts: list[int]) -> None:
    count, net = sum(parts), Counting()
    latents = torch.randn(count, 4, side, side, generator=torch.Generator().manual_seed(0))
    batch = LatentBatch(latents, torch.zeros(count, 77, dtype=torch.int64), torch.ones(count))
    objective = LatentObjective(scaled_linear_schedule(1000))
    found = fixed_noise_loss(objective, batch, 3).errors(net)
    assert net.seen == parts
    whole = objective.errors(net, batch, CounterRandom(3, 0, range(count)))
    torch.testing.assert_close(found, whole.detach())
