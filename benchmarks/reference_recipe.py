"""The recipe that students start from, written anew from its description.

TeaPearce's Conditional_Diffusion_MNIST: a U-Net whose time and class embeddings add to and multiply
the features on the way up, T=400, betas 1e-4..0.02, a tenth of the labels dropped, Adam at 1e-4
falling to 0 over 20 epochs, batches of 256 pictures in [0, 1]. Here with three channels, and a
class for each digit of each domain.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2.diffusion.schedule import linear_schedule

NUM_TIMESTEPS = 400
BATCH = 256
RATE = 1e-4
NUM_EPOCHS = 20
LABEL_DROPOUT = 0.1
CHANNELS, NUM_CLASSES = 3, 20
CPU = torch.device("cpu")


def conv(width_in: int, width_out: int) -> nn.Sequential:
    """3x3 convolution, batch norm, GELU."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, padding=1), nn.BatchNorm2d(width_out), nn.GELU()
    )


class ResidualPair(nn.Module):
    """Two convolutions, the second around a shortcut, scaled back to unit variance."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.same = width_in == width_out
        self.first, self.second = conv(width_in, width_out), conv(width_out, width_out)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return ((x if self.same else first) + self.second(first)) / 1.414


def pair(width_in: int, width_out: int) -> nn.Sequential:
    """Two convolutions without a shortcut."""
    return nn.Sequential(conv(width_in, width_out), conv(width_out, width_out))


def up(width_in: int, width_out: int) -> nn.Sequential:
    """Twice the size, then four convolutions."""
    grow = nn.ConvTranspose2d(width_in, width_out, 2, 2)
    return nn.Sequential(grow, pair(width_out, width_out), pair(width_out, width_out))


def embedding(width_in: int, width: int) -> nn.Sequential:
    """A small network from a number or a one-hot class to one factor a channel."""
    return nn.Sequential(
        nn.Linear(width_in, width), nn.GELU(), nn.Linear(width, width), nn.Unflatten(1, (-1, 1, 1))
    )


class ContextUnet(nn.Module):
    """eps(x, class, t / T) of 28x28 pictures; class NUM_CLASSES stands for none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = ResidualPair(CHANNELS, width)
        self.down1 = nn.Sequential(pair(width, width), nn.MaxPool2d(2))
        self.down2 = nn.Sequential(pair(width, 2 * width), nn.MaxPool2d(2))
        self.squeeze = nn.Sequential(nn.AvgPool2d(7), nn.GELU())
        self.time1, self.time2 = embedding(1, 2 * width), embedding(1, width)
        self.label1 = embedding(NUM_CLASSES, 2 * width)
        self.label2 = embedding(NUM_CLASSES, width)
        self.up0 = nn.Sequential(
            nn.ConvTranspose2d(2 * width, 2 * width, 7, 7), nn.GroupNorm(8, 2 * width), nn.ReLU()
        )
        self.up1, self.up2 = up(4 * width, width), up(2 * width, width)
        self.leave = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, CHANNELS, 3, padding=1),
        )

    def forward(self, x: Tensor, label: Tensor, time: Tensor) -> Tensor:
        x = self.enter(x)
        half = self.down1(x)
        quarter = self.down2(half)
        # No class is a row of zeros.
        told = F.one_hot(label, NUM_CLASSES + 1)[:, :-1].float()
        time = time.view(-1, 1)
        y = self.up0(self.squeeze(quarter))
        y = self.up1(torch.cat([self.label1(told) * y + self.time1(time), quarter], 1))
        y = self.up2(torch.cat([self.label2(told) * y + self.time2(time), half], 1))
        return self.leave(torch.cat([y, x], 1))


class ReferenceRecipe:
    """The network in training: a step a batch, at the rate of its epoch."""

    def __init__(self, width: int, device: torch.device = CPU) -> None:
        self.net = ContextUnet(width=width).to(device)
        self.schedule = linear_schedule(NUM_TIMESTEPS)
        self.optimizer = torch.optim.Adam(self.net.parameters(), RATE)

    def step(self, x0: Tensor, labels: Tensor, epoch: int) -> None:
        """One step on pictures in [0, 1], in `epoch`, 0 being the first."""
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * (1 - epoch / NUM_EPOCHS)
        count = len(x0)
        t = torch.randint(0, NUM_TIMESTEPS, (count,), device=x0.device)
        a, s = self.schedule.signal_and_noise(t, x0)
        noise = torch.randn_like(x0)
        dropped = torch.rand(count, device=x0.device) < LABEL_DROPOUT
        told = torch.where(dropped, NUM_CLASSES, labels)
        answer = self.net(a * x0 + s * noise, told, (t + 1) / NUM_TIMESTEPS)
        self.optimizer.zero_grad()
        F.mse_loss(answer.float(), noise).backward()
        self.optimizer.step()
