"""From noise to pictures: what all samplers share, and each by its name (see `solvers/`).

Every sampler is a generator over the timesteps it visits, noisiest first, and takes the guided
noise prediction `denoise(xt, t) -> eps` as a function. None of them draws random numbers: fresh
noise comes from `fresh(t)`, so that the caller decides what it depends on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hw2.diffusion import solvers
from hw2.diffusion.prediction import x0_of
from hw2.diffusion.schedule import NoiseSchedule
from hw2.errors import ConfigError

Denoise = Callable[[Tensor, int], Tensor]
Fresh = Callable[[int], Tensor]
Spacing = Literal["leading", "linspace", "trailing"]


@dataclass(frozen=True)
class SampleStep:
    """The state after the update at timestep `t`: `xt` (b, c, h, w) and the predicted `x0`."""

    t: int
    xt: Float[Tensor, "b c h w"]
    x0: Float[Tensor, "b c h w"]


@dataclass(frozen=True)
class Sampler:
    """A sampler as it is called by name, and what it can do.

    Attributes:
        run: `run(denoise, schedule, x_start, fresh, steps, *, clip_x0)`, a SampleStep for each of
            the falling timesteps `steps`; also with `eta`, if it has that.
        has_eta: takes DDIM's stochasticity.
        every_timestep: cannot leave any out.
    """

    run: Callable[..., Iterator[SampleStep]]
    has_eta: bool = False
    every_timestep: bool = False


def timesteps(
    num_train_timesteps: int,
    num_inference_steps: int,
    spacing: Spacing = "trailing",
    steps_offset: int = 0,
) -> list[int]:
    """Falling timesteps in 0 .. T-1, evenly spread (Lin et al. 2024, table 2).

    Args:
        num_train_timesteps: T.
        num_inference_steps: n, in 1 .. T.
        spacing: "trailing" starts at T-1, which is what makes the first call see pure noise
            (section 3.3 there); "leading" takes every (T/n)-th timestep from 0 up; "linspace" holds
            both ends, but of n = 1 timestep 0 alone, which has little noise to take away. The words
            are diffusers', and so is that.
        steps_offset: added to each timestep of "leading", >= 0; the others take no notice of it.

    Raises:
        ConfigError: n is out of range; or with "leading", n does not divide T, the offset is below
            0, or it leads beyond T-1.
    """
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise ConfigError(
            f"num_inference_steps={num_inference_steps}: use 1 .. {num_train_timesteps}, "
            "the number of training timesteps"
        )
    if spacing == "leading":
        return _leading(num_train_timesteps, num_inference_steps, steps_offset)
    if spacing == "linspace":
        spread = np.linspace(0, num_train_timesteps - 1, num_inference_steps)
        return spread.round()[::-1].astype(int).tolist()
    ratio = num_train_timesteps / num_inference_steps
    return [round(num_train_timesteps - i * ratio) - 1 for i in range(num_inference_steps)]


def _leading(total: int, count: int, offset: int) -> list[int]:
    """The `count` timesteps of "leading", out of `total`."""
    if total % count:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        below = max(n for n in divisors if n < count)
        above = min(n for n in divisors if n > count)
        raise ConfigError(
            f"num_inference_steps={count} does not divide num_train_timesteps={total}: "
            f"use {below} or {above}, or timestep_spacing trailing"
        )
    if offset < 0:
        raise ConfigError(f"steps_offset={offset}: need 0 or more")
    steps = [i * (total // count) + offset for i in reversed(range(count))]
    if steps[0] >= total:
        raise ConfigError(
            f"steps_offset={offset}: the first of {count} timesteps would be {steps[0]}, beyond "
            f"the last, {total - 1}: use steps_offset 0"
        )
    return steps


def clipped(eps: Tensor, xt: Tensor, a: Tensor, s: Tensor, clip: bool) -> tuple[Tensor, Tensor]:
    """Predicted x0, kept in [-1, 1] if wanted, and the noise that goes with it."""
    x0 = x0_of(eps, xt, a, s)
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = (xt - a * x0) / s
    return x0, eps


def alpha_cumprod(schedule: NoiseSchedule, t: int) -> Float[Tensor, ""]:
    """alphas_cumprod at t, and 1 below timestep 0, where the picture is clean."""
    return schedule.alphas_cumprod[t] if t >= 0 else torch.ones((), dtype=torch.float64)


def last(steps: Iterator[SampleStep]) -> SampleStep:
    """The end of the sampler `steps`; of the states before it keeps only one at a time."""
    for step in steps:  # noqa: B007
        pass
    return step


def find_sampler(name: str) -> Sampler:
    """The sampler of the file `solvers/{name}.py`. Raises ConfigError if there is none."""
    names = [module.name for module in iter_modules(solvers.__path__)]
    if name not in names:
        raise ConfigError(f"sampler={name}: use one of {', '.join(names)}")
    return import_module(f"{solvers.__name__}.{name}").SAMPLER


def check_eta(eta: float) -> None:
    """Raise ConfigError unless DDIM's stochasticity `eta` is in [0, 1]."""
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta={eta}: need 0 (deterministic) .. 1 (DDPM's variance)")


def check_sampler(
    name: str, num_train_timesteps: int, num_inference_steps: int, eta: float
) -> list[int]:
    """The timesteps that the sampler called `name` visits.

    "ddpm" visits all T timesteps: on fewer steps DDIM with eta=1 is such a sampler, with the
    posterior's variance instead of beta_t. `eta`, in [0, 1], is DDIM's alone. Raises ConfigError
    for anything else.
    """
    sampler = find_sampler(name)
    steps = timesteps(num_train_timesteps, num_inference_steps)
    if sampler.every_timestep and num_inference_steps != num_train_timesteps:
        raise ConfigError(
            f"num_inference_steps={num_inference_steps}: sampler {name} visits all "
            f"{num_train_timesteps} timesteps; set {num_train_timesteps}, or take sampler ddim "
            "with eta 1"
        )
    if not sampler.has_eta and eta != 0:
        raise ConfigError(f"eta={eta}: only sampler ddim has it, not {name}")
    check_eta(eta)
    return steps


def sample(
    name: str,
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    fresh: Fresh,
    *,
    num_inference_steps: int,
    eta: float = 0.0,
    clip_x0: bool = True,
) -> Iterator[SampleStep]:
    """The sampler called `name`. Raises ConfigError as `check_sampler` does."""
    steps = check_sampler(name, schedule.num_train_timesteps, num_inference_steps, eta)
    sampler = find_sampler(name)
    more = {"eta": eta} if sampler.has_eta else {}
    return sampler.run(denoise, schedule, x_start, fresh, steps, clip_x0=clip_x0, **more)
