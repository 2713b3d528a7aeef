"""Whole trajectories of DDPM and DDIM against diffusers and the course's formula, in float64."""

import weakref
from collections.abc import Iterator
from fractions import Fraction

import diffusers.schedulers.scheduling_ddpm as diffusers_ddpm
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor
from torch.testing import assert_close

from hw2.diffusion.samplers import SampleStep, Spacing, check_sampler, last, sample, timesteps
from hw2.diffusion.schedule import NoiseSchedule, make_schedule
from hw2.diffusion.solvers.ddim import ddim
from hw2.diffusion.solvers.ddpm import ddpm
from hw2.errors import ConfigError
from tests.diffusion.toy import in_float64, noise_at, smooth_denoiser

START = noise_at(-1)
KINDS = pytest.mark.parametrize("kind", ["linear", "cosine"])
CLIPS = pytest.mark.parametrize("clip", [False, True])


def no_noise(t: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


@pytest.fixture
def noises_of_timesteps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """diffusers' DDPM draws noise_at(t) for each t put into the list."""
    wanted: list[int] = []
    monkeypatch.setattr(
        diffusers_ddpm, "randn_tensor", lambda *args, **kwargs: noise_at(wanted[-1])
    )
    return wanted


@KINDS
@CLIPS
def test_ddpm_equals_diffusers(kind: str, clip: bool, noises_of_timesteps: list[int]) -> None:
    schedule, denoise = make_schedule(kind, 60), smooth_denoiser()
    theirs = in_float64(DDPMScheduler, schedule, variance_type="fixed_large", clip_sample=clip)
    xt = START
    for state in ddpm(denoise, schedule, START, noise_at, timesteps(60, 60), clip_x0=clip):
        noises_of_timesteps.append(state.t)
        step = theirs.step(denoise(xt, state.t), state.t, xt)
        xt = step.prev_sample
        # Where the cosine schedule's signal is 1e-4, x0 and with it xt carry the lost digits on.
        assert_close(state.xt, xt, rtol=1e-7, atol=1e-7)
        assert_close(state.x0, step.pred_original_sample, rtol=1e-7, atol=1e-7)
    assert noises_of_timesteps == list(range(59, -1, -1))


@KINDS
def test_ddpm_equals_the_courses_formula(kind: str) -> None:
    """Written out with the course's names, timesteps counted from 1 to n_T."""
    schedule, denoise = make_schedule(kind, 60), smooth_denoiser()
    beta_t = np.concatenate([[0.0], schedule.betas.numpy()])
    alpha_t = 1 - beta_t
    alphabar_t = np.exp(np.cumsum(np.log(alpha_t)))
    oneover_sqrta = 1 / np.sqrt(alpha_t)
    sqrt_beta_t = np.sqrt(beta_t)
    with np.errstate(divide="ignore", invalid="ignore"):
        mab_over_sqrtnab = (1 - alpha_t) / np.sqrt(1 - alphabar_t)
    x_i = START
    for i in range(60, 0, -1):
        z = noise_at(i - 1) if i > 1 else 0
        eps = denoise(x_i, i - 1)
        x_i = oneover_sqrta[i] * (x_i - eps * mab_over_sqrtnab[i]) + sqrt_beta_t[i] * z
    *_, last = ddpm(denoise, schedule, START, noise_at, timesteps(60, 60))
    assert_close(last.xt, x_i, rtol=1e-9, atol=1e-9)


@KINDS
@CLIPS
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_inference_steps", [1, 12, 60])
def test_ddim_equals_diffusers(kind: str, clip: bool, eta: float, num_inference_steps: int) -> None:
    last = follow_diffusers(kind, num_inference_steps, clip=clip, eta=eta)
    assert_close(last.xt, last.x0)


@pytest.mark.parametrize("num_inference_steps", [7, 17, 59])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_where_the_steps_do_not_divide(eta: float, num_inference_steps: int) -> None:
    """diffusers steps by T // n here and misses its own timesteps: the paper's eq. 12 instead."""
    schedule, denoise = make_schedule("linear", 60), smooth_denoiser()
    alpha_bar = np.cumprod(1 - schedule.betas.numpy())
    steps, x = timesteps(60, num_inference_steps), START.numpy()
    for i, t in enumerate(steps):
        now = alpha_bar[t]
        prev = alpha_bar[steps[i + 1]] if i + 1 < len(steps) else 1.0
        eps = denoise(torch.from_numpy(x), t).numpy()
        sigma = eta * np.sqrt((1 - prev) / (1 - now)) * np.sqrt(1 - now / prev)
        predicted = (x - np.sqrt(1 - now) * eps) / np.sqrt(now)
        direction = np.sqrt(1 - prev - sigma**2) * eps
        x = np.sqrt(prev) * predicted + direction + sigma * noise_at(t).numpy()
    *_, last = ddim(denoise, schedule, START, noise_at, steps, eta=eta, clip_x0=False)
    assert_close(last.xt.numpy(), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("spacing", "offset"), [("trailing", 0), ("leading", 0), ("leading", 1), ("linspace", 0)]
)
@CLIPS
@pytest.mark.parametrize("set_alpha_to_one", [False, True])
@pytest.mark.parametrize("use_clipped", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_equals_diffusers_in_every_setting(
    spacing: Spacing, offset: int, clip: bool, set_alpha_to_one: bool, use_clipped: bool, eta: float
) -> None:
    more = {"set_alpha_to_one": set_alpha_to_one, "use_clipped": use_clipped}
    follow_diffusers("linear", 12, spacing, offset, clip=clip, eta=eta, **more)


def follow_diffusers(
    kind: str,
    count: int,
    spacing: Spacing = "trailing",
    offset: int = 0,
    *,
    clip: bool,
    eta: float,
    set_alpha_to_one: bool = True,
    use_clipped: bool = True,
) -> SampleStep:
    """Compare each state of our trajectory with diffusers'; the last one."""
    schedule, denoise = make_schedule(kind, 60), smooth_denoiser()
    theirs = in_float64(
        DDIMScheduler,
        schedule,
        timestep_spacing=spacing,
        steps_offset=offset,
        set_alpha_to_one=set_alpha_to_one,
        clip_sample=clip,
    )
    last = theirs.alphas_cumprod[0]
    theirs.final_alpha_cumprod = torch.ones_like(last) if set_alpha_to_one else last
    theirs.set_timesteps(count)
    steps = timesteps(60, count, spacing, offset)
    assert theirs.timesteps.tolist() == steps
    xt = START
    states = ddim(
        denoise,
        schedule,
        START,
        noise_at if eta else no_noise,
        steps,
        eta=eta,
        clip_x0=clip,
        set_alpha_to_one=set_alpha_to_one,
        use_clipped_model_output=use_clipped,
    )
    for state, following in zip(states, [*steps[1:], -1], strict=True):
        if spacing == "linspace":
            # diffusers steps by T // n, past the timesteps it visits: told of each gap instead.
            theirs.num_inference_steps = Fraction(60, state.t - following)
        step = theirs.step(
            denoise(xt, state.t),
            state.t,
            xt,
            eta=eta,
            use_clipped_model_output=use_clipped,
            # Below timestep 0 the picture is clean: the last variance is 0 whatever the noise.
            variance_noise=noise_at(state.t),
        )
        xt = step.prev_sample
        assert_close(state.xt, xt, rtol=1e-7, atol=1e-7)
        assert_close(state.x0, step.pred_original_sample, rtol=1e-7, atol=1e-7)
    return state


def test_the_settings_of_ddim_change_its_end() -> None:
    """None of them is without effect on the denoiser that the comparisons draw with."""
    schedule, steps = make_schedule("linear", 60), timesteps(60, 12, "leading", 1)

    def end(**settings: bool) -> Tensor:
        *_, last = ddim(smooth_denoiser(), schedule, START, noise_at, steps, eta=0.5, **settings)
        return last.xt

    for setting in ("clip_x0", "set_alpha_to_one", "use_clipped_model_output"):
        assert float((end() - end(**{setting: False})).abs().max()) > 1e-2, setting


def test_noise_is_added_where_the_last_step_leaves_some() -> None:
    """At timestep 1 with alphas_cumprod[0] as the end, but not from timestep 0, which is there."""
    schedule, asked = make_schedule("linear", 60), []

    def fresh(t: int) -> Tensor:
        asked.append(t)
        return noise_at(t)

    for offset in (1, 0):
        for to_one in (True, False):
            steps = timesteps(60, 12, "leading", offset)
            asked.clear()
            list(
                ddim(
                    smooth_denoiser(),
                    schedule,
                    START,
                    fresh,
                    steps,
                    eta=1.0,
                    set_alpha_to_one=to_one,
                )
            )
            assert asked == (steps if offset == 1 and not to_one else steps[:-1])


def test_clipping_keeps_predicted_pictures_in_range() -> None:
    schedule = make_schedule("cosine", 60)

    def wild(xt: Tensor, t: int) -> Tensor:
        return 3 * smooth_denoiser()(xt, t)

    for name, count in (("ddim", 10), ("dpmpp", 10), ("unipc", 10), ("ddpm", 60)):
        for clip in (True, False):
            states = list(
                sample(
                    name,
                    wild,
                    schedule,
                    START,
                    noise_at,
                    num_inference_steps=count,
                    clip_x0=clip,
                )
            )
            assert (max(float(s.x0.abs().max()) for s in states) <= 1) == clip, name
            assert [s.t for s in states] == timesteps(60, count)


@pytest.mark.parametrize("total", [1, 7, 100, 400, 1000])
def test_timesteps_of_every_length(total: int) -> None:
    for count in range(1, total + 1):
        steps = timesteps(total, count)
        assert len(steps) == len(set(steps)) == count
        assert steps[0] == total - 1 and steps[-1] >= 0
        assert steps == sorted(steps, reverse=True)
        gaps = -np.diff([*steps, -1])
        assert gaps.max() - gaps.min() <= 1


def test_the_courses_timesteps() -> None:
    assert timesteps(1000, 50, "leading", 1) == list(range(981, 0, -20))
    assert timesteps(1000, 50) == timesteps(1000, 50, "trailing", 7) == list(range(999, 0, -20))


@pytest.mark.parametrize("total", [1, 60, 400, 1000])
def test_leading_and_linspace_equal_diffusers_at_every_length(total: int) -> None:
    for count in range(1, total + 1):
        theirs = DDIMScheduler(total, timestep_spacing="linspace")
        theirs.set_timesteps(count)
        steps = timesteps(total, count, "linspace", 1)
        assert steps == theirs.timesteps.tolist() and len(set(steps)) == count
        if total % count == 0:
            theirs = DDIMScheduler(total, timestep_spacing="leading")
            theirs.set_timesteps(count)
            assert timesteps(total, count, "leading") == theirs.timesteps.tolist()


@pytest.mark.parametrize(
    ("total", "count", "offset", "message"),
    [
        (
            1000,
            300,
            1,
            "num_inference_steps=300 does not divide num_train_timesteps=1000: use 250 or 500, or "
            "timestep_spacing trailing",
        ),
        (
            7,
            2,
            0,
            "num_inference_steps=2 does not divide num_train_timesteps=7: use 1 or 7, or "
            "timestep_spacing trailing",
        ),
        (
            1000,
            1000,
            1,
            "steps_offset=1: the first of 1000 timesteps would be 1000, beyond the last, 999: use "
            "steps_offset 0",
        ),
        (
            1000,
            50,
            20,
            "steps_offset=20: the first of 50 timesteps would be 1000, beyond the last, 999: use "
            "steps_offset 0",
        ),
        (
            1000,
            1001,
            0,
            "num_inference_steps=1001: use 1 .. 1000, the number of training timesteps",
        ),
        (1000, 50, -1, "steps_offset=-1: need 0 or more"),
    ],
)
def test_refusals_of_leading(total: int, count: int, offset: int, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        timesteps(total, count, "leading", offset)
    assert str(error.value) == message


def refused(schedule: NoiseSchedule, name: str, count: int, eta: float = 0.0) -> str:
    with pytest.raises(ConfigError) as error:
        list(
            sample(
                name,
                smooth_denoiser(),
                schedule,
                START,
                noise_at,
                num_inference_steps=count,
                eta=eta,
            )
        )
    return str(error.value)


def test_refusals_say_the_value_and_the_way_out() -> None:
    schedule = make_schedule("linear", 50)
    for name in ("ddpm", "ddim", "dpmpp", "unipc"):
        for count in (-1, 0, 51):
            message = refused(schedule, name, count)
            assert message.startswith(f"num_inference_steps={count}: use 1 .. 50")
    message = refused(schedule, "ddpm", 25)
    assert "num_inference_steps=25" in message and "set 50" in message and "eta 1" in message
    for name, count in (("dpmpp", 10), ("unipc", 10), ("ddpm", 50)):
        assert refused(schedule, name, count, eta=0.5).startswith("eta=0.5: only sampler ddim")
    for eta in (-0.1, 1.1, float("nan")):
        assert refused(schedule, "ddim", 10, eta=eta).startswith(f"eta={eta}: need 0")
        with pytest.raises(ConfigError, match="need 0"):
            check_sampler("ddim", 50, 10, eta)
    for name in ("euler", "", "__init__"):
        assert refused(schedule, name, 10).startswith(f"sampler={name}: use one of ddim, ddpm, ")


def counted_steps(alive: list[int]) -> Iterator[SampleStep]:
    """Five steps; `alive` is told how many earlier states are still kept as each is asked for."""
    states = list[weakref.ref[Tensor]]()
    for t in range(4, -1, -1):
        alive.append(sum(state() is not None for state in states))
        step = SampleStep(t, torch.full((10, 3, 8, 8), float(t)), torch.zeros(10, 3, 8, 8))
        states.append(weakref.ref(step.xt))
        yield step
        del step


def test_the_last_step_is_found_without_keeping_the_others() -> None:
    alive = list[int]()
    assert last(counted_steps(alive)).xt.unique().tolist() == [0]
    assert max(alive) == 1
