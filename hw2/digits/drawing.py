"""Drawing digits with a trained model: which picture gets which noise, and how it is kept."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.prediction import PredictionType
from hw2.diffusion.samplers import check_sampler, sample, timesteps
from hw2.diffusion.schedule import NoiseSchedule, make_schedule
from hw2.disclosure import warn
from hw2.domains import DIGITS
from hw2.errors import CheckpointError, ConfigError
from hw2.models.digit_unet import DigitUNet
from hw2.pixels import refuse_undrawn, to_uint8
from hw2.precision import wants_bf16
from hw2.settings.digits import DiffusionConfig, NetworkConfig, SampleDigitsConfig, SampleSettings
from hw2.weights import load_claimed, read_meta


@dataclass(frozen=True)
class DigitModel:
    """A trained network with what is needed to draw from it."""

    net: nn.Module
    schedule: NoiseSchedule
    prediction_type: PredictionType
    null_digit: int
    null_domain: int | None
    image_size: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def branches(
        self, digit: Int64[Tensor, " b"], domain: Int64[Tensor, " b"]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What the network is told of `digit` and `domain`, and in the unconditional branch.

        There the domain is kept when training never dropped it.
        """
        null = torch.full_like
        kept = domain if self.null_domain is None else null(domain, self.null_domain)
        return (digit, domain), (null(digit, self.null_digit), kept)

    def to(self, device: torch.device) -> "DigitModel":
        """The same model on `device`."""
        return dataclasses.replace(self, net=self.net.to(device), device=device)


def digit_model(net: DigitUNet, diffusion: DiffusionConfig) -> DigitModel:
    """`net` as a model to draw from."""
    return DigitModel(
        net,
        make_schedule(diffusion.schedule, diffusion.num_train_timesteps),
        diffusion.prediction_type,
        net.null_digit,
        # Where training dropped the digit alone, the unconditional branch still has a domain.
        None if diffusion.drop == "digit" else net.null_domain,
        net.config.image_size,
    )


class DigitMeta(NamedTuple):
    """What a file of digit weights says of itself."""

    network: NetworkConfig
    diffusion: DiffusionConfig


def read_digit_meta(path: Path) -> DigitMeta:
    """Network and process of the weights in `path`; CheckpointError if they are no digits'."""
    meta = read_meta(path)
    if meta.get("kind") != "digit_ddpm":
        raise CheckpointError(f"{path}: holds no digit model; train one with jobs.train_ddpm")
    return DigitMeta(
        meta.settings(NetworkConfig, "network"), meta.settings(DiffusionConfig, "diffusion")
    )


def load_digit_model(path: Path, averaged: bool = True) -> DigitModel:
    """The averaged weights in `path`, or those as trained.

    Raises CheckpointError if they are no digit model's, or not there.
    """
    meta = read_digit_meta(path)
    described = [meta.network.model_dump(), meta.diffusion.model_dump()]
    net = load_claimed(path, described, lambda: DigitUNet(meta.network), averaged)
    return digit_model(net, meta.diffusion)


def check_sampling(settings: SampleSettings, diffusion: DiffusionConfig) -> None:
    """Raise ConfigError if `settings` cannot be drawn from a model of `diffusion`.

    A model that was trained with labels alone, or without any, has learnt nothing of the other
    branch. Warn of guidance that acts at none of the steps, where they are few.
    """
    w, interval = settings.guidance_weight, settings.guidance_interval
    for dropout, fits, lacks, way in (
        (0, w == 0, "without", "guidance_weight 0"),
        # Outside the interval the conditional branch alone is asked.
        (1, w == -1 and interval == (0, 1), "with", "guidance_weight -1, guidance_interval 0,1"),
    ):
        if diffusion.label_dropout == dropout and not fits:
            raise ConfigError(
                f"guidance_weight={w:g}, guidance_interval={interval[0]:g},{interval[1]:g} of a "
                f"model trained with diffusion.label_dropout={dropout}: it has seen no picture "
                f"{lacks} label: take {way}, or train with 0.1"
            )
    total, steps = diffusion.num_train_timesteps, settings.num_inference_steps
    check_sampler(settings.sampler, total, steps, settings.eta)
    guidance = Guidance(w, interval)
    if w and not any(guidance.acts_at(t, total) for t in timesteps(total, steps)):
        warn(
            f"guidance_weight={w:g} does nothing: none of num_inference_steps={steps} lies in "
            f"guidance_interval={interval[0]:g},{interval[1]:g}; all lie in 0,1"
        )


def frame_levels(visited: Sequence[int]) -> tuple[int, ...]:
    """How the states are called between which `visited` lead: by the noise left, from T to 0."""
    return (*(t + 1 for t in visited), 0)


def check_strip(config: SampleDigitsConfig, num_train_timesteps: int) -> None:
    """Raise ConfigError unless the sampler passes each state that the strip is to show."""
    count = config.num_inference_steps
    levels = frame_levels(timesteps(num_train_timesteps, count))
    for wanted in config.strip_timesteps or ():
        if wanted > num_train_timesteps:
            raise ConfigError(
                f"strip_timesteps={wanted}: use 0 .. {num_train_timesteps}, the number of training "
                "timesteps, where all is noise"
            )
        if wanted not in levels:
            above = min(level for level in levels if level > wanted)
            below = max(level for level in levels if level < wanted)
            raise ConfigError(
                f"strip_timesteps={wanted}: num_inference_steps={count} do not pass it, the "
                f"nearest are {above} and {below}: take one of these, or other "
                "num_inference_steps"
            )


@dataclass(frozen=True)
class Drawn:
    """Pictures 0..255 of digits by indices, the reverse process of the first, and its cost."""

    images: UInt8[Tensor, "digits indices 3 h w"]
    frames: UInt8[Tensor, "steps 3 h w"]
    frame_levels: tuple[int, ...]
    num_network_calls: int


@torch.no_grad()
def draw(
    model: DigitModel, settings: SampleSettings, *, domain: int, indices: Sequence[int], seed: int
) -> Drawn:
    """All ten digits of `domain`, one picture each for every index.

    Noise depends on (seed, index) alone, so that the columns of a sheet share it. The frames are
    those of the first digit and index: pure noise, then the state after each visited timestep; a
    frame's level is the number of noising steps left in it, T for pure noise and 0 at the end.
    """
    count, size = len(indices), model.image_size
    start = CounterRandom(seed, 0, indices).normal(Stream.START, 3, size, size)

    def fresh(t: int) -> Tensor:
        noise = CounterRandom(seed, t, indices).normal(Stream.ANCESTRAL, 3, size, size)
        return noise.repeat(len(DIGITS), 1, 1, 1).to(model.device)

    digit = torch.tensor(DIGITS).repeat_interleave(count).to(model.device)
    denoiser = GuidedDenoiser(
        model.net,
        model.schedule,
        Guidance(settings.guidance_weight, settings.guidance_interval),
        model.prediction_type,
        *model.branches(digit, torch.full_like(digit, domain)),
    )
    bf16 = wants_bf16(settings.precision, model.device)

    def denoise(xt: Tensor, t: int) -> Tensor:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            return denoiser(xt, t).float()

    x_start = start.repeat(len(DIGITS), 1, 1, 1).to(model.device)
    frames, visited = [x_start[0]], []
    for state in sample(
        settings.sampler,
        denoise,
        model.schedule,
        x_start,
        fresh,
        num_inference_steps=settings.num_inference_steps,
        eta=settings.eta,
        clip_x0=settings.clip_x0,
    ):
        frames.append(state.xt[0].clone())  # a view would keep all pictures of the step
        visited.append(state.t)
    refuse_undrawn(state.xt, settings.guidance_weight)
    images = to_uint8(state.xt).cpu().view(len(DIGITS), count, 3, size, size)
    drawn_frames = to_uint8(torch.stack(frames)).cpu()
    return Drawn(images, drawn_frames, frame_levels(visited), denoiser.num_network_calls)
