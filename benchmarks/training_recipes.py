"""The trainings that training_peers.py sets against each other: ours, and two peers'.

Each goes on piece by piece and draws from the weights at hand; torch and the rest are imported when
one is made, in the process that trains it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from frame import autocast

W = 2.0  # the guidance weight that all are drawn with


class Recipe(Protocol):
    """A training that goes on piece by piece."""

    def advance(self) -> int:
        """Train on. Pictures seen, 0 at the end."""

    def draw(self, domain: int, indices: Sequence[int]) -> Any:
        """Pictures 0..255 of all digits, (10 * len(indices), 3, 28, 28), digit by digit."""


class Ours:
    """The product's own loop, from checkpoint to checkpoint."""

    def __init__(self, words: argparse.Namespace, out: Path) -> None:
        import torch

        from hw2.config import load
        from hw2.digits.ddpm_training import ddpm_training
        from hw2.gradients import Place
        from hw2.settings.digits import TrainDdpmConfig
        from hw2.training import train

        settings = ["--config", str(words.config), "--out", str(out), *words.ours]
        settings += ["--data.root", str(words.data)]
        self.config = load(TrainDdpmConfig, settings, prog="", description="")
        made = ddpm_training(self.config, out)
        self.device, self.step = torch.device(words.device), 0
        # With guidance everywhere, as the peers draw.
        self.sample = self.config.sample.model_copy(update={"guidance_interval": (0.0, 1.0)})
        self.events = train(made, Place(device=self.device))

    def advance(self) -> int:
        from hw2.events import Saved

        for event in self.events:
            if isinstance(event, Saved):
                self.ema, before, self.step = event.ema, self.step, event.step
                return (event.step - before) * self.config.train.batch_size
        return 0

    def draw(self, domain: int, indices: Sequence[int]) -> Any:
        from hw2.digits.drawing import digit_model, draw

        model = digit_model(self.ema, self.config.diffusion).to(self.device)
        return draw(model, self.sample, domain=domain, indices=indices, seed=0).images


class Peer:
    """A peer's network on shuffled epochs of the same pictures, one class a digit and domain."""

    def __init__(self, words: argparse.Namespace, out: Path) -> None:
        import torch

        from hw2.data.batches import Shuffled
        from hw2.data.digits import read_digits
        from hw2.settings.data import DataConfig

        torch.manual_seed(0)
        pictures = read_digits(DataConfig(root=words.data), "train", 28)
        self.source = Shuffled(pictures.whole, seed=0)
        self.steps, self.draw_steps = 0, words.peer_steps
        self.device = torch.device(words.device)
        self.make(words.width)

    def advance(self) -> int:
        self.steps += 1
        batch = self.source.batch(self.steps, range(self.batch), self.batch)
        told = batch.images / 255, batch.digit + 10 * batch.domain
        with autocast(self.device):
            self.learn(*(x.to(self.device) for x in told))
        return self.batch

    def draw(self, domain: int, indices: Sequence[int]) -> Any:
        import torch

        from hw2.diffusion.counter import CounterRandom, Stream
        from hw2.diffusion.guidance import Guidance, GuidedDenoiser
        from hw2.diffusion.samplers import last, sample

        label = torch.arange(10).repeat_interleave(len(indices)).to(self.device) + 10 * domain
        start = CounterRandom(0, 0, indices).normal(Stream.START, 3, 28, 28).to(self.device)
        start, none = start.repeat(10, 1, 1, 1), torch.full_like(label, 20)
        net, schedule, guidance = self.network(), self.schedule, Guidance(W)
        denoise = GuidedDenoiser(net, schedule, guidance, "epsilon", (label,), (none,))
        told = {"num_inference_steps": self.draw_steps}
        with torch.no_grad(), autocast(self.device):
            end = last(sample("ddim", denoise, schedule, start, lambda t: start, **told))
        return (self.unit(end.xt.float()).clamp(0, 1) * 255).round().to(torch.uint8).cpu()


class Reference(Peer):
    """What students start from, in its own [0, 1]."""

    def make(self, width: int) -> None:
        from reference_recipe import BATCH, ReferenceRecipe

        self.recipe, self.batch = ReferenceRecipe(width, self.device), BATCH
        self.schedule = self.recipe.schedule

    def learn(self, pictures: Any, labels: Any) -> None:
        self.recipe.net.train()
        epoch = (self.steps - 1) * self.batch // len(self.source.whole.digit)
        self.recipe.step(pictures, labels, epoch)

    def network(self) -> Any:
        from reference_recipe import NUM_TIMESTEPS

        net = self.recipe.net.eval()
        return lambda xt, t, label: net(xt, label, (t + 1) / NUM_TIMESTEPS)

    def unit(self, x: Any) -> Any:
        return x


class Package(Peer):
    """denoising-diffusion-pytorch's guided model: its README's and its Trainer's settings.

    But three sizes instead of four, since 28 cannot be halved three times, and no accumulation of
    gradients: twice as many steps.
    """

    batch = 32

    def make(self, width: int) -> None:
        import torch
        from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        from hw2.diffusion.schedule import make_schedule

        net = Unet(dim=max(8, width // 2), dim_mults=(1, 2, 4), num_classes=20)
        self.diffusion = GaussianDiffusion(net, image_size=28, timesteps=1000).to(self.device)
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), 8e-5, betas=(0.9, 0.99))
        self.ema = EMA(self.diffusion, beta=0.995, update_every=10)
        self.schedule = make_schedule("cosine", 1000)

    def learn(self, pictures: Any, labels: Any) -> None:
        import torch

        self.diffusion(pictures, classes=labels).backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update()

    def network(self) -> Any:
        net = self.ema.ema_model.model
        return lambda xt, t, label: net(xt, t, label.clamp(max=19), cond_keep_mask=label < 20)

    def unit(self, x: Any) -> Any:
        return (x + 1) / 2
